"""load_run: a trained network and all that its use needs, from what its run has written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from experiments.config.parse import build_group
from experiments.config.resume import complete
from experiments.errors import CheckpointError, ConfigError, UserError, nearest, reason, shortage
from experiments.files import read_mapping
from experiments.runs.directory import RunDirectory
from experiments.tasks.answers import Answers
from experiments.tasks.base import task_class
from experiments.tasks.rows import TASKS, TaskConfig, task_row
from experiments.training.tensor_files import load_weights, note_in, read_tensors
from experiments.usage.scripts import WAY, import_script
from experiments.usage.transform import ImageTransform, Transform
from experiments.usage.volumes import VolumeTransform
from models import list_models
from models.create import create_described
from models.description import Description, read_note

FOLDER = ("config.json", "model.safetensors")  # of models.save_pretrained
logger = logging.getLogger("experiments")


@dataclass(frozen=True)
class LoadedRun:
    """A trained network with what its use needs.

    model: in eval mode, on the CPU. transform: a path, PIL image, array or tensor -> the input of
    the network (see ImageTransform, and VolumeTransform for volumes). class_names: by the index of
    an output; empty where outputs are no classes. description: all of this as plain values.
    answers: how outputs are read (see experiments.tasks.answers); of maps,
    answers.inside(maps, (height, width)) is what they say of an image of that size, without the
    border of data.resize=pad. path: what it was loaded from.
    config and manifest: of a run directory, else empty. script: the one that was imported, a
    module, or None.
    """

    model: nn.Module
    transform: Transform
    class_names: tuple[str, ...]
    task: str
    description: Description
    answers: Answers
    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    script: Any = None


@dataclass(frozen=True)
class Source:
    """Where the weights of a network lie, and what is written beside them."""

    path: Path
    weights: Path
    described: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


def load_run(path: str | Path, script: str | Path | None = None) -> LoadedRun:
    """Load what a run has trained: its network with the best weights, and how it is to be used.

        run = load_run("runs/cifar/2026-01-31_12-00-00-seed0")
        logits = run.model(run.transform("photo.jpg")[None])
        print(run.class_names[logits.argmax()])

    path: a run directory, a best.safetensors, or a folder of save_pretrained. script: the user's
    own file that registers the network or the task, which is imported; a file that has changed
    since the run began is told in one line. Without it no file is imported; no dataset is needed,
    and nothing is unpickled.

    Raises:
        ConfigError: there is no run at path, or it has no weights yet; the network or its task is
            registered by a script, which is to be given; the script cannot be imported.
        CheckpointError: a file is damaged, or has other tensors than the network.
    """
    source = _find(Path(path).expanduser())
    module = None
    if script is not None:
        recorded = source.manifest.get("script")
        known = recorded if isinstance(recorded, dict) else {}
        module = import_script(script, known, logger.warning)
    description = _description(source)
    _check_names(description, source)
    try:
        model = create_described(description)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source.path}: its network cannot be made anew: {error}") from error
    load_weights(model, read_tensors(source.weights, _recorded_hash(source)), source.weights)
    row = task_row(description.task)
    answers = task_class(row).answers(description, _task_options(source, description.task))
    return LoadedRun(
        model=model.eval(),
        transform=transform_for(description),
        class_names=description.class_names,
        task=description.task,
        description=description,
        answers=answers,
        path=source.path,
        config=source.config,
        manifest=source.manifest,
        script=module,
    )


def transform_for(description: Description) -> Transform:
    """From what people have to the inputs of a network: of images, or of volumes."""
    rule = description.preprocessing
    kinds: dict[int, type[Transform]] = {2: ImageTransform, 3: VolumeTransform}
    return kinds[2 if rule is None else rule.ndim](description)


# ------------------------------------------------------------------------------------ what there is
def _find(path: Path) -> Source:
    if not path.exists():
        raise ConfigError(f"{path} does not exist: give a run directory, or its best.safetensors")
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ConfigError(
                f"{path} is no file of weights: give a run directory, or its best.safetensors"
            )
        return Source(path, path)
    config, weights = (path / name for name in FOLDER)
    if config.is_file() and weights.is_file():
        return Source(path, weights, _read(config))
    directory = RunDirectory(path)
    if not (directory.config.is_file() or directory.manifest.is_file()):
        raise ConfigError(f"{path} is no run directory: {_within(path)}")
    return _of_run(directory)


def _within(path: Path) -> str:
    """What to type instead of a folder that is no run: its parent, or the newest run below it."""
    for above in path.resolve().parents[:2]:
        if (above / "config.yaml").is_file():
            return f"it is a part of one; give {above}"
    runs = [file.parent for depth in ("*", "*/*") for file in path.glob(f"{depth}/manifest.json")]
    if not runs:
        return "it has no config.yaml; give the folder that was printed as 'run directory'"
    newest = max(runs, key=lambda run: (run / "manifest.json").stat().st_mtime)
    count = f"{len(runs)} runs lie in it, the newest" if len(runs) > 1 else "a run lies in it"
    return f"{count}: give {newest}"


def _of_run(directory: RunDirectory) -> Source:
    if not directory.best.is_file():
        raise ConfigError(
            f"{directory.path} has no weights yet: its status is {directory.status()}, and "
            f"{directory.best.name} is written at the end of an epoch; wait for the first, or go "
            f"on with it (trainer.resume={directory.path})"
        )
    manifest = _read(directory.manifest) if directory.manifest.is_file() else {}
    config = _read(directory.config) if directory.config.is_file() else {}
    described = manifest.get("description")
    return Source(
        directory.path,
        directory.best,
        described if isinstance(described, dict) else None,
        config,
        manifest,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_mapping(path)
    except (OSError, ValueError) as error:
        raise shortage(error) or CheckpointError(f"cannot read {path}: {reason(error)}") from error


def _description(source: Source) -> Description:
    """What the file of weights says of its network, else what lies beside it."""
    try:
        description = read_note(note_in(source.weights))[1]
        if description is None and source.described is not None:
            description = Description.from_dict(source.described)
    except ValueError as error:
        raise CheckpointError(f"{source.path}: {error}") from error
    if description is None:
        raise CheckpointError(
            f"{source.weights} does not say what network it belongs to: an earlier version wrote "
            "it; resume the run (trainer.resume), which describes it, or build the network by "
            "create_model and load the file yourself"
        )
    return description


def _check_names(description: Description, source: Source) -> None:
    """Refuse a network or a task that no file of this library registers."""
    recorded = source.manifest.get("script")
    known = recorded.get("path") if isinstance(recorded, dict) else None
    file = f" The run was started by {known}." if known else ""
    for what, name, names in (
        ("network", description.model, list_models()),
        ("task", description.task, list(TASKS)),
    ):
        if name not in names:
            raise ConfigError(
                f"{source.path}: no {what} is called {name!r} here{nearest(name, names)}; a script "
                f"that registers it is to be given: {WAY}.{file}"
            )


def _recorded_hash(source: Source) -> str | None:
    """The SHA-256 of the best weights, where the run has told it at its end."""
    found = source.manifest.get("best_sha256")
    return found if isinstance(found, str) else None


def _task_options(source: Source, task: str) -> TaskConfig:
    """The options of the run's task, as its config has them; the defaults without a config."""
    options: type[TaskConfig] = task_row(task).options
    if not source.config:
        return options(name=task)
    try:
        found: TaskConfig = build_group(options, complete(source.config)["task"], "task")
    except (ValueError, UserError) as error:
        raise CheckpointError(f"{source.path}: its config.yaml cannot be used: {error}") from error
    return found
