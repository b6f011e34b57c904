"""Search over settings: which trials there are, how each runs, and what came of them.

A trial is a list of overrides and a run of the entry script. Ray is imported in ray_search,
callbacks and trainable alone, Optuna in samplers and pictures, torch where models are checked.
"""
