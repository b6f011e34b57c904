"""Which key was meant by one that there is not; what other programs call things, and have."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.errors import near_keys, or_words

# Names that no spelling leads to, by the last part of a key.
ELSEWHERE: dict[str, str] = {
    "aa": "augment.policy",
    "amp": "trainer.precision",
    "arch": "model",
    "architecture": "model",
    "aug_repeats": "data.repeats",
    "bs": "trainer.batch_size",
    "clip": "trainer.max_grad_norm",
    "color_jitter": "augment.colour_jitter",
    "criterion": "loss",
    "crop_pct": "data.crop_ratio",
    "crop_size": "augment.size",
    "data_dir": "data.root",
    "dir": "data.root",
    "eval_crop_ratio": "data.crop_ratio",
    "early_stopping": "trainer.patience",
    "fp16": "trainer.precision",
    "learning_rate": "optimizer.lr",
    "log_dir": "runs_dir",
    "logger": "tracker",
    "min_lr": "scheduler.lr_end",
    "mixup_switch_prob": "augment.switch_probability",
    "model_ema_decay": "trainer.ema_decay",
    "net": "model",
    "network": "model",
    "opt": "optimizer",
    "out": "runs_dir",
    "output_dir": "runs_dir",
    "path": "data.root",
    "pretrained_path": "model.weights",
    "random_seed": "seed",
    "recount": "augment.erasing_count",
    "remode": "augment.erasing_mode",
    "repeated_aug": "data.repeats",
    "reprob": "augment.erasing",
    "resolution": "data.image_size",
    "smoothing": "loss.label_smoothing",
    "test_crop_ratio": "data.crop_ratio",
    "train_crop_size": "augment.size",
    "train_interpolation": "augment.interpolation",
    "wandb": "tracker",
    "warmup_epochs": "scheduler.warmup",
    "warmup_lr": "scheduler.lr_start",
    "wd": "optimizer.weight_decay",
}
_DEVICE = "`accelerate launch` chooses the device; trainer.cpu=true takes the CPU"
# What there is instead of a thing that other programs have.
INSTEAD: dict[str, str] = {
    "cuda": _DEVICE,
    "device": _DEVICE,
    "gpu": _DEVICE,
    "gpus": "`accelerate launch --num_processes N` starts a process for each of N GPUs",
    "tune": "`python tune.py tune=NAME` searches over settings",
}


def unknown_key(key: str, known: Iterable[str], others: Iterable[str] = ()) -> str:
    """Say that there is no such key: the one that was meant, and which the group has.

    known: dotted keys and the names of groups; others: keys that other choices of a group have.
    """
    names = list(known)
    group, _, leaf = key.rpartition(".")
    same = sorted(name for name in {*names, *others} if name.endswith(f".{leaf}"))[:3]
    text = f"{key} is not a known key"
    if leaf.lower() in INSTEAD:
        text += f": {INSTEAD[leaf.lower()]}"
    elif meant := same or meant_keys(key, names):
        text += f"; did you mean {or_words(map(repr, meant))}?"
    beside = [name.removeprefix(f"{group}.") for name in names if name.startswith(f"{group}.")]
    if beside:
        return f"{text}\nThe keys of {group}: {', '.join(sorted(beside))}"
    return text if "?" in text else f"{text}\n--help lists all groups and keys"


def meant_keys(key: str, known: Iterable[str]) -> list[str]:
    """The keys that one may stand for: those spelt alike, and what other programs call so."""
    names = list(known)
    elsewhere = ELSEWHERE.get(key.rpartition(".")[2].lower().replace("-", "_"))
    return [elsewhere] if elsewhere in names else near_keys(key, names, 3)
