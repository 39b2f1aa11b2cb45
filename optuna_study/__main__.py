"""`python -m optuna_study`."""

from optuna_study.cli.app import main

main()
