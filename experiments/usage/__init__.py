"""What one does with a trained run: load it, evaluate it, predict, export.

from experiments.usage import load_run
run = load_run("runs/cifar/2026-01-31_12-00-00-seed0")
"""

from experiments.usage.load import LoadedRun, load_run
from experiments.usage.transform import ImageTransform
from experiments.usage.volumes import VolumeTransform

__all__ = ["ImageTransform", "LoadedRun", "VolumeTransform", "load_run"]
