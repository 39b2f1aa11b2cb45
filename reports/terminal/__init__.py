"""What the terminal shows: tables of at most 80 columns."""
