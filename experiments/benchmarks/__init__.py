"""What a layer, a model, a loader and a training step cost, against the least they could cost.

`python -m experiments.benchmarks --help` lists the benchmarks. Every figure is a row of
experiments/results/bench_<name>.csv with the machine, the versions and the commit that made it.
"""
