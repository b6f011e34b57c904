"""The command: python -m experiments.report RUN_DIR... [--format markdown]."""

from experiments.reporting.report import main

if __name__ == "__main__":
    raise SystemExit(main())
