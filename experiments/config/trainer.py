"""Groups `trainer` and `tracker`."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.config.checks import require, require_choice


@dataclass
class TrainerConfig:
    """How long, how large and how precise; see docs/training.md for their meaning in use."""

    mode: str = "train"  # train | evaluate: the test split through model.weights, untrained
    epochs: int = 10
    batch_size: int = 128  # images per optimizer step, over all processes and accumulation steps
    accumulation: int = 1  # micro-batches per optimizer step
    evaluation_batch_size: int = 256  # per process
    max_grad_norm: float | None = None
    precision: str | None = None  # no | bf16 | fp16; null: what `accelerate launch` was told
    compile: bool = False
    channels_last: bool = False
    ema_decay: float | None = None
    deterministic: bool = True
    cpu: bool = False
    threads: int | None = None  # of each process on a CPU; null: share the cores out
    resume: str | None = (
        None  # auto, or a run directory; with more epochs it is prolonged in another
    )
    start_from: str | None = None  # a checkpoint: its optimizer and epochs, beyond model.weights
    checkpoint_steps: int | None = None  # also save every that many optimizer steps
    keep_last: int = 2  # checkpoints kept beside the best weights
    patience: int | None = None  # epochs without a better monitored figure that end a run
    monitor: str | None = None  # what selects the best weights; null: the task's first figure
    limit_steps: int | None = None  # optimizer steps per epoch at most; for debugging
    overfit_batches: int = 0  # train and validate on that many fixed batches; for debugging
    test: bool = True  # false: the test images are never looked at, and there is no test.json
    progress: bool = True

    def __post_init__(self) -> None:
        require_choice("trainer.mode", self.mode, ("train", "evaluate"))
        for key in ("epochs", "batch_size", "accumulation", "evaluation_batch_size", "keep_last"):
            value = getattr(self, key)
            require(value >= 1, f"trainer.{key}", value, "must be 1 or more")
        for key in ("checkpoint_steps", "limit_steps", "max_grad_norm", "threads", "patience"):
            value = getattr(self, key)
            require(value is None or value > 0, f"trainer.{key}", value, "must be positive or null")
        few = self.threads is None or self.threads <= 1024
        require(few, "trainer.threads", self.threads, "must be 1 to 1024, or null")
        decay = self.ema_decay
        rule = "must lie in (0, 1) or be null (no EMA)"
        require(decay is None or 0 < decay < 1, "trainer.ema_decay", decay, rule)
        if self.precision is not None:
            rule = "must be bf16, fp16, no (32 bits) or null (what `accelerate launch` was told)"
            known = self.precision in ("no", "bf16", "fp16")
            require(known, "trainer.precision", self.precision, rule)
        require(
            self.overfit_batches >= 0,
            "trainer.overfit_batches",
            self.overfit_batches,
            "must be 0 (off) or more",
        )
        rule = f"must divide trainer.batch_size={self.batch_size}"
        require(
            self.batch_size % self.accumulation == 0,
            "trainer.accumulation",
            self.accumulation,
            rule,
        )


@dataclass
class TrackerConfig:
    name: str = "local"  # local | wandb | tensorboard; the local files are always written
    project: str = "kan-images"
    entity: str | None = None
    group: str | None = None  # of wandb: runs that belong together

    def __post_init__(self) -> None:
        require_choice("tracker.name", self.name, ("local", "wandb", "tensorboard"))
        rule = "must be 1 to 128 characters, none of them / \\ # ? % or : (a rule of wandb)"
        ok = 0 < len(self.project) <= 128 and not set(self.project) & set("/\\#?%:")
        require(ok or self.name != "wandb", "tracker.project", self.project, rule)
