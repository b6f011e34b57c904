"""The training loop and what it is made of: steps, optimizers, checkpoints, signals, memory."""
