"""What comes before the first trial: one preparation for `run` and `check`, and an estimate."""
