"""Where a search starts, and what it proposes next."""
