"""Beginning with the state of another run: trainer.start_from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.errors import CheckpointError
from experiments.training.checkpoint import UNKNOWN, Checkpoint, CheckpointStore
from experiments.training.state import Progress, TrainingState


def begin_from(state: TrainingState, path: Path) -> None:
    """Begin with the state of another run's checkpoint (called on all processes).

    Taken over: weights, moving average, what the optimizer and the loss scaler have gathered,
    and the number of epochs done. Learning rates, decay and schedule are this run's own, as if
    it had come that far by itself; the best weights are still to be found.

    Raises CheckpointError: another model or optimizer wrote it, or one whose weights stand in
    another order; it stands within an epoch, or this run is to have no more epochs than that.
    """
    checkpoint = CheckpointStore(path.parent, UNKNOWN).load(path)
    epoch = _epochs_done(state, checkpoint, path)
    state.restore_weights(checkpoint, path)
    own, taken = state.optimizer.state_dict(), checkpoint.state["optimizer"]
    if _sizes(own) != _sizes(taken):  # a state says whose it is by its place alone
        raise CheckpointError(
            f"trainer.start_from={path} has other groups of weights: an optimizer.weight_decay "
            "of 0, or optimizer.layer_decay, on one side alone; type what that run had"
        )
    state.optimizer.load_state_dict({**own, "state": taken["state"]})
    state.restore_scaler(checkpoint)
    state.progress = Progress(epoch=epoch, step=epoch * state.train_loader.steps_per_epoch)
    with warnings.catch_warnings():  # torch warns of steps of a schedule before an optimizer's
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(state.progress.step):
            state.scheduler.step()
    state.accelerator.wait_for_everyone()


def _epochs_done(state: TrainingState, checkpoint: Checkpoint, path: Path) -> int:
    given, mine = checkpoint.config["optimizer"]["name"], state.run_config["optimizer"]["name"]
    progress = Progress(**checkpoint.state["progress"])
    what = f"trainer.start_from={path}"
    if given != mine:
        raise CheckpointError(f"{what} was trained with {given}; type optimizer={given}")
    if progress.step_in_epoch:
        raise CheckpointError(
            f"{what} stands within epoch {progress.epoch + 1}, whose order of samples is "
            "another run's; give a checkpoint of the end of an epoch"
        )
    if progress.epoch >= state.config.epochs:
        raise CheckpointError(
            f"{what} has {progress.epoch} epochs done, and this run is to have "
            f"{state.config.epochs}; type trainer.epochs={progress.epoch + 1} or more"
        )
    return progress.epoch


def _sizes(optimizer: Mapping[str, Any]) -> list[int]:
    return [len(group["params"]) for group in optimizer["param_groups"]]
