"""Search over settings of an entry script: many runs, one table, the best one as a command.

python tune.py --config-name cifar tune=kagn_small data=digits trainer.epochs=6
"""

from experiments.tuning.launch import main

if __name__ == "__main__":
    raise SystemExit(main())
