"""`python -m optuna_study`."""

from optuna_study import main

main()
