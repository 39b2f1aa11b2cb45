"""What to search next: one study's evidence becomes the search space of the next."""
