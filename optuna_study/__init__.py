"""The command line.  `optuna-study` and `python -m optuna_study`."""
