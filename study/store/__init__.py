"""Everything persistent: the Optuna storage, our tables, the saved adapters."""
