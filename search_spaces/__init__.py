"""Where to search: named search spaces over Optuna's distributions."""
