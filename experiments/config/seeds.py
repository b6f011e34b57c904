"""Group `seeds`: one for each kind of chance in a run, where `seed` is not to be that of all."""

from __future__ import annotations

from dataclasses import dataclass, fields

from experiments.config.checks import require


@dataclass
class SeedsConfig:
    """What each part of a run draws from; None: from the run's `seed`."""

    init: int | None = None  # initial weights
    shuffle: int | None = None  # order of the images of each epoch
    augment: int | None = None  # random changes of each image
    mixup: int | None = None  # mixing of batches: mixup and cutmix
    dropout: int | None = None  # dropout, drop path and other noise of training steps

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            rule = "must be 0 or more, and less than 2^63, or null (the run's seed)"
            require(value is None or 0 <= value < 2**63, f"seeds.{f.name}", value, rule)
