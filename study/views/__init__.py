"""Progress output while a study runs."""
