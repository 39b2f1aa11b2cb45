"""Run the trials: ask, train, tell.  Only this package imports torch, and only when it trains."""
