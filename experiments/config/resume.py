"""What may differ between a run and its continuation, and what a saved config means today.

One table for all who go on with a run: resuming, prolonging, population-based training.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from experiments.config.beginning import BeginningConfig
from experiments.config.optim import OPTIMIZERS, SCHEDULERS
from experiments.config.parse import NAMED_GROUPS, PLAIN_GROUPS, TASK_GROUPS, plain_options
from experiments.tasks.rows import TASKS
from models import list_models, model_options

FREE = "free"  # changes where and how fast a run proceeds, never what it computes
RECORDED = "recorded"  # changes roundings, or what is written beside; the manifest tells
REFUSED = "refused"  # changes what is computed: that is another run

# A key, or a group for all of its keys that have no row of their own.
RESUME: dict[str, str] = {
    "name": FREE,
    "seed": REFUSED,
    "seeds": REFUSED,
    "runs_dir": FREE,
    "model": REFUSED,
    "model.backend": RECORDED,
    "task": REFUSED,
    "data.name": REFUSED,
    "data.root": FREE,
    "data.download": FREE,
    "data.download_dir": FREE,
    "data.cache": FREE,
    "data.image_size": REFUSED,
    "data.resize": REFUSED,
    "data.crop_ratio": REFUSED,
    "data.interpolation": REFUSED,
    "data.validation_fraction": REFUSED,
    "data.train_size": REFUSED,
    "data.repeats": REFUSED,
    "data.balance": REFUSED,
    "data.split_seed": REFUSED,
    "data.fit": REFUSED,
    "data.check": FREE,
    "data.skip_damaged": REFUSED,
    "data.workers": FREE,
    "data.mean": REFUSED,
    "data.std": REFUSED,
    "data.num_classes": REFUSED,
    "data.channels": REFUSED,
    "data.alpha": REFUSED,
    "data.image_column": REFUSED,
    "data.label_column": REFUSED,
    "data.target": REFUSED,
    "data.classes": REFUSED,
    "data.source": REFUSED,
    "data.count": REFUSED,
    "data.objects": REFUSED,
    "data.ndim": REFUSED,
    "augment": REFUSED,
    "optimizer": REFUSED,
    "scheduler": REFUSED,
    "loss": REFUSED,
    "penalty": REFUSED,
    "metrics": RECORDED,
    "metrics.threshold": REFUSED,  # from which a label is predicted: F1, which may select
    "metrics.background": REFUSED,  # whether figures of masks, which select, are over class 0, too
    "trainer.mode": REFUSED,
    "trainer.epochs": REFUSED,
    "trainer.batch_size": REFUSED,
    "trainer.accumulation": REFUSED,
    "trainer.evaluation_batch_size": FREE,
    "trainer.patience": REFUSED,
    "trainer.max_grad_norm": REFUSED,
    "trainer.precision": REFUSED,
    "trainer.compile": RECORDED,
    "trainer.channels_last": RECORDED,
    "trainer.ema_decay": REFUSED,
    "trainer.deterministic": RECORDED,
    "trainer.cpu": RECORDED,
    "trainer.threads": RECORDED,
    "trainer.resume": FREE,
    "trainer.start_from": REFUSED,
    "trainer.checkpoint_steps": FREE,
    "trainer.keep_last": FREE,
    "trainer.monitor": REFUSED,
    "trainer.limit_steps": REFUSED,
    "trainer.overfit_batches": REFUSED,
    "trainer.test": REFUSED,  # a run that was not to see test images is not tested later
    "trainer.progress": FREE,
    "tracker": FREE,
}

# What prolongs a run, where nothing else that is REFUSED changes: more of it, or null.
LONGER = ("trainer.epochs", "trainer.patience")

# What a run is computed with and from, beside its config; recorded in manifest and checkpoints.
FACTS: dict[str, str] = {
    "run.precision": REFUSED,  # the environment may say it
    "run.processes": RECORDED,  # roundings, batch statistics and noise are those of a process
    "run.device": RECORDED,
    "run.versions": RECORDED,
    "data.images": REFUSED,  # how many: training, validation, test
    "data.classes": REFUSED,
    "data.fingerprint": REFUSED,  # of names and targets, in their order
    "data.contents": RECORDED,  # of sizes or pixels: a damaged file that was mended has another
}

# Keys that are younger than saved configs, where their default is not what was done before.
BEFORE: dict[str, Any] = {"task.name": "classification"}
# Keys of saved configs that have another place today.
MOVED: dict[str, str] = {"trainer.weights": "model.weights"}


def policy(key: str) -> str:
    """Whether a continuation may change a dotted key: FREE, RECORDED or REFUSED.

    The row of the key counts, else that of the nearest group around it. A key without either, of a
    config that this version does not know, is REFUSED.
    """
    rows = RESUME | FACTS
    while key and key not in rows:
        key = key.rpartition(".")[0]
    return rows.get(key, REFUSED)


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{dotted key: (saved value, current value)} of all keys that differ."""
    old, new = dict(flatten(complete(saved))), dict(flatten(current))
    keys = sorted(old.keys() | new.keys())
    return {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}


def prolongs(changes: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether the differences of a config make its run longer, and another in nothing else."""
    refused = {key: pair for key, pair in changes.items() if policy(key) == REFUSED}
    return bool(refused) and all(
        key in LONGER and old is not None and (new is None or new > old)
        for key, (old, new) in refused.items()
    )


def changed_facts(
    saved: Mapping[str, Any], current: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """{dotted key: (saved, current)} of the facts that differ; one not recorded is not demanded."""
    old, new = dict(flatten(saved)), dict(flatten(current))
    return {k: (old[k], new.get(k)) for k in sorted(old) if old[k] != new.get(k)}


def complete(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config with all keys of today.

    One that it lacks has the value that keeps what was done before: that of BEFORE, else its
    default.

    Raises: ValueError: a group of keys is something else.
    """
    if not isinstance(saved, Mapping):
        raise ValueError(f"it holds {type(saved).__name__}, not keys with values")
    values = copy.deepcopy(dict(saved))
    for group in (*PLAIN_GROUPS, *NAMED_GROUPS, *TASK_GROUPS, "model"):
        section = values.get(group, {})
        if not (isinstance(section, dict) or (section is None and group == "loss")):
            raise ValueError(f"{group} is {section!r:.80}, not keys with values")
    for group in PLAIN_GROUPS:
        values.setdefault(group, {})
    for old, key in MOVED.items():
        (group, leaf), (new_group, new_leaf) = old.split("."), key.split(".")
        if leaf in values[group] and isinstance(values.get(new_group), dict):
            values[new_group].setdefault(new_leaf, values[group].pop(leaf))
    loss = values.get("loss") or {}
    if loss.get("name") == "focal" and loss.get("alpha", "") is None:
        del loss["alpha"]  # what is loss.class_weights today
    for key, value in BEFORE.items():
        group, _, leaf = key.partition(".")
        values.setdefault(group, {}).setdefault(leaf, value)
    for group, defaults in _defaults(values).items():
        if isinstance(values.get(group), dict):
            values[group] = {**defaults, **values[group]}
    return values


def default_leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted key: default} of the groups of a config, as chosen by the names in it."""
    return dict(flatten(_defaults(values)))


def _defaults(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The defaults of every group, as chosen by the names in values."""
    row = TASKS.get(_name(values, "task"))
    classes: dict[str, type | None] = {
        **PLAIN_GROUPS,
        "optimizer": OPTIMIZERS.get(_name(values, "optimizer")),
        "scheduler": SCHEDULERS.get(_name(values, "scheduler")),
        "loss": None if row is None else row.losses.get(_name(values, "loss")),
        "task": None if row is None else row.options,
        "metrics": None if row is None else row.metrics,
    }
    defaults = {group: _of_class(cls) for group, cls in classes.items() if cls is not None}
    model = _name(values, "model")
    if model in list_models():
        own = {key: option.default for key, option in model_options(model).items()}
        defaults["model"] = {**asdict(BeginningConfig()), **plain_options(own)}
    return defaults


def _of_class(cls: Any) -> dict[str, Any]:
    made = {}
    for f in fields(cls):
        made[f.name] = f.default if f.default_factory is MISSING else f.default_factory()
    return made


def _name(values: Mapping[str, Any], group: str) -> str:
    section = values.get(group)
    return str(section.get("name")) if isinstance(section, dict) else ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts: {"a": {"b": 1}} -> ("a.b", 1)."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
