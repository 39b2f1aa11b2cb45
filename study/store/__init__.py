"""Everything persistent: the Optuna storage, our tables, and saved adapters."""
