"""What to search next: the evidence of one study becomes the search space of the next."""
