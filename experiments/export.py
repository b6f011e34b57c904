"""The command: python -m experiments.export RUN --format FORMAT --out DIR."""

from experiments.usage.export import main

if __name__ == "__main__":
    raise SystemExit(main())
