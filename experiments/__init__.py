"""The training platform: configs, data, trainer, checkpoints, metrics, reports."""

import os

# OpenMP's threads spin while they wait for one another. With another busy process on the machine
# that turns every small operation into a wait for the scheduler (a training step was seen to take
# 12 times as long). It is read when torch loads, so it stands here, before any import of torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
