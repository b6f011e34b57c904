"""Ray's side of a trial: one step is one epoch of a run that another process trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from experiments.tuning.directory import SearchDirectory
from experiments.tuning.follower import Follower, Order, load_order, read_launch, rows_of
from experiments.tuning.population import order_of

ORDER, SEARCH, NUMBER = "order", "search", "number"  # entries of Ray's config of a trial


def number_of(config: dict[str, Any]) -> int:
    """The number of a trial, when Ray makes it."""
    return int(json.loads(config[ORDER])["number"] if ORDER in config else config[NUMBER])


class TrialRun(Trainable):
    """A trial of a search. Its name ends in its number, which no exploit changes."""

    def setup(self, config: dict[str, Any]) -> None:
        self.search = SearchDirectory(Path(config[SEARCH]))
        self.follower = Follower(self.search, read_launch(self.search), self._order(config))
        run = self.follower.run() if NUMBER in config else None
        rows = {} if run is None else rows_of(run)
        self.epochs = min(rows, default=1) - 1  # a run that began with another's state skips some

    def _order(self, config: dict[str, Any]) -> Order:
        if ORDER in config:
            return load_order(config[ORDER])
        number = int(str(self.trial_name).rpartition("-")[2])
        return order_of(self.search, number, config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.follower.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        result = self.follower.epoch(self.epochs + 1)
        self.epochs += 1
        return {**result, "training_iteration": self.epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        path = self.follower.checkpoint(self.epochs)
        place = None if path is None else str(path)
        return {"number": self.follower.order.number, "epoch": self.epochs, "checkpoint": place}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Go on with this trial, or with another one's checkpoint and settings of its own."""
        if checkpoint is None:
            return
        own = self.follower.order
        self.epochs = int(checkpoint["epoch"])
        if checkpoint["number"] != own.number:
            order = Order(own.number, own.overrides, start_from=checkpoint["checkpoint"])
            self.follower.begin_anew(order)

    def cleanup(self) -> None:
        self.follower.close()
