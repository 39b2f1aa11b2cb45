"""Base models: finding, loading and checking them, and the miniatures that the project trains."""
