"""The command: python -m experiments.predict RUN PATH... [--top K] [--out FILE.csv]."""

from experiments.usage.predict import main

if __name__ == "__main__":
    raise SystemExit(main())
