"""Config groups: what may be chosen in each, and what a choice like `debug=null` means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from experiments.config.places import CONFIG_DIR
from experiments.errors import ConfigError, nearest
from experiments.tasks.rows import TASKS
from models import list_models

_ABSENT = object()


def list_groups() -> list[str]:
    """The names of the config groups of a run; `tune`, of a search over runs, is none of them."""
    folders = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    return sorted({"model", *folders} - {"tune"})


def group_options(group: str, task: str | None = None) -> list[str]:
    """The choices of a config group; of models those for a task alone, if one is given."""
    files = (CONFIG_DIR / group).glob("*.yaml")
    names = {f.stem for f in files if not f.stem.startswith("_")}
    registered = {"model": list_models(task=task), "task": list(TASKS)}
    return sorted(names | set(registered.get(group, ())))


def settle_groups(config_name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides without those that choose nothing: `debug=null` is what it is without.

    Raises: ConfigError for a choice that there is not, and for nothing where a group needs one.
    """
    groups, defaults, kept = list_groups(), _defaults(config_name), []
    for text in overrides:
        override = parse_override(text)
        # Packages (data@x=...) are left to Hydra, which has its own words for them.
        if override is None or override.key_or_group not in groups or override.package is not None:
            kept.append(text)
            continue
        names = _names(override)
        _check_choice(text, override, names, defaults.get(override.key_or_group, _ABSENT))
        if names:
            kept.append(text)
    return kept


def parse_override(text: str) -> Override | None:
    """An override as Hydra reads it; None if it cannot."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def swept(override: Override) -> list[str]:
    """The values of a sweep. Raises: ConfigError for glob(...), whose names Hydra alone knows."""
    try:
        return list(override.sweep_string_iterator())
    except HydraException as error:
        raise ConfigError(
            f"{override.input_line}: this kind of sweep is not read here; list its values, as in "
            f"{override.key_or_group}=A,B"
        ) from error


def _names(override: Override) -> list[Any]:
    """What an override chooses: several names of a sweep or a list; none where it is null."""
    if override.is_delete():
        return []
    if override.is_sweep_override():
        return swept(override)
    value = override.value()
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [v.text if isinstance(v, QuotedString) else v for v in values]


def _check_choice(text: str, override: Override, names: Sequence[Any], default: Any) -> None:
    """Refuse what cannot be chosen. default: what the entry file chooses, None for nothing."""
    group, sweep = override.key_or_group, override.is_sweep_override()
    options = group_options(group)
    rule = ""
    if override.is_add() and default is not _ABSENT:
        raise ConfigError(f"{text}: {group} is one of the groups already; type {text[1:]}")
    if not names and default is not None:
        rule = f"{group} cannot be left out"
    elif sweep and "null" in names:
        rule = "null cannot be one of several; give the command without this word, and then with it"
    elif len(names) > 1 and not sweep and default is not None:
        rule = f"one at a time; several runs are --multirun {group}={','.join(map(str, names))}"
    for name in names if not rule else ():
        if isinstance(name, (dict, int, float)) and default is not None:
            rule = f"{group} takes a name; keys are set one by one, for example trainer.epochs=5"
        elif not (isinstance(name, str) and _exists(group, name)):
            none = f"; for none of them leave {group} out" if default is None else ""
            typed = text if len(names) == 1 else f"{group}={name}"
            near = nearest(str(name), options) or none
            raise ConfigError(f"{typed} does not exist{near}\n{_choices(options)}")
    if rule:
        raise ConfigError(f"{text}: {rule}\n{_choices(options)}")


def _exists(group: str, name: str) -> bool:
    """Whether a choice is registered or a file; those that begin with _ are parts of others."""
    folder, _, stem = name.rpartition("/")
    file = CONFIG_DIR / group / folder / f"{stem}.yaml"
    return name in group_options(group) or (not stem.startswith("_") and file.is_file())


def _choices(options: Sequence[str]) -> str:
    return f"Choose one of: {', '.join(options)}"


def _defaults(config_name: str) -> dict[str, Any]:
    """{group: the choice of an entry file}, None where it leaves one out."""
    path = CONFIG_DIR / f"{config_name}.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"] if path.is_file() else []
    groups = [entry for entry in entries if isinstance(entry, dict)]
    return {key: value for entry in groups for key, value in entry.items()}
