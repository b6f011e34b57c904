"""The command: python -m experiments.tuning, which is tune.py of a clone."""

from experiments.tuning.launch import main

if __name__ == "__main__":
    raise SystemExit(main())
