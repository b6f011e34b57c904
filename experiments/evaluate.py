"""The command: python -m experiments.evaluate RUN [KEY=VALUE ...] [--split SPLIT] [--tta]."""

from experiments.usage.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
