"""`optuna-study` and `python -m optuna_study`."""

from __future__ import annotations

import sys

from optuna_study.shadowing import own_packages_only


def main() -> None:
    """Run the command line, unless the user's files hide its packages."""
    try:
        own_packages_only()
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    from optuna_study.cli import app

    app.main()


if __name__ == "__main__":
    main()
