"""Options of a preset (experiment=, debug=) that its group's present choice does not have.

A preset sets model.degree; with model=simple_conv beside it nobody has typed that key, and it is
left out with a line. A key that was typed is an error, and so is one that no choice has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml

from experiments.config.beginning import BEGINNING
from experiments.config.groups import CONFIG_DIR, parse_override
from experiments.config.optim import OPTIMIZERS, SCHEDULERS
from experiments.tasks.rows import TASKS
from models import list_models, model_options
from models.registry import check_options

logger = logging.getLogger("experiments")
PRESETS = ("experiment", "debug")
_told: set[str] = set()


def leave_out(values: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Take out of composed values what a preset says of other choices; return a line for each.

    overrides: what was typed, whose keys and values stay as they are.
    """
    chosen = [parsed for text in overrides if (parsed := parse_override(text)) is not None]
    typed = {parsed.key_or_group for parsed in chosen}
    lines = []
    for group, (known, others) in _known(values).items():
        section = values.get(group)
        if not isinstance(section, dict):
            continue
        name = section.get("name")
        for key in [key for key in section if f"{group}.{key}" not in typed]:
            why = ""
            if key not in known and key in others:
                why = "does not have"
            elif group == "model" and key in known and group in typed:
                why = _refusal(str(name), key, section[key])
            if why:
                source = _preset(f"{group}.{key}", chosen)
                lines.append(f"{source} sets {group}.{key}, which {group}={name} {why}: left out")
                del section[key]
    return lines


def tell(lines: Sequence[str]) -> None:
    """Say each line once, on the first process: a config is composed several times."""
    for line in lines:
        if line not in _told and os.environ.get("RANK", "0") == "0":
            _told.add(line)
            logger.warning(line)


def _known(values: Mapping[str, Any]) -> dict[str, tuple[set[str], set[str]]]:
    """{group: (the keys of its present choice, those of all choices)}; without unknown choices."""

    def name(group: str) -> str:
        section = values.get(group)
        return str(section.get("name")) if isinstance(section, dict) else ""

    row = TASKS.get(name("task"))
    tables: dict[str, tuple[Any, list[Any]]] = {
        "optimizer": (OPTIMIZERS.get(name("optimizer")), list(OPTIMIZERS.values())),
        "scheduler": (SCHEDULERS.get(name("scheduler")), list(SCHEDULERS.values())),
    }
    if row is not None:
        rows = TASKS.values()
        losses = [cls for other in rows for cls in other.losses.values()]
        tables["loss"] = (row.losses.get(name("loss")), losses)
        tables["task"] = (row.options, [other.options for other in rows])
        tables["metrics"] = (row.metrics, [other.metrics for other in rows])
    found = {
        group: ({f.name for f in fields(own)}, {f.name for cls in every for f in fields(cls)})
        for group, (own, every) in tables.items()
        if own is not None
    }
    if name("model") in list_models():
        own = {"name", *BEGINNING, *model_options(name("model"))}
        found["model"] = (own, {key for other in list_models() for key in model_options(other)})
    return found


def _refusal(model: str, key: str, value: Any) -> str:
    """Why another model does not take a value of an option that it has; empty if it does."""
    if key not in model_options(model) or value == model_options(model)[key].default:
        return ""
    try:
        check_options(model, {key: value})
    except ValueError:
        return f"does not take as {value}"
    return ""


def _preset(key: str, chosen: Sequence[Any]) -> str:
    """The preset that sets a key, as it was typed."""
    for parsed in chosen:
        group, name = parsed.key_or_group, None if parsed.is_delete() else parsed.value()
        if group not in PRESETS or not isinstance(name, str):
            continue
        if _sets(group, name, key.split(".")):
            return f"{group}={name}"
    return "the config"


def _sets(group: str, name: str, path: list[str]) -> bool:
    """Whether a file, or one that it extends, has a key."""
    file = CONFIG_DIR / group / f"{name}.yaml"
    if not file.is_file():
        return False
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    section = content.get(path[0])
    if isinstance(section, dict) and path[1] in section:
        return True
    bases = [entry for entry in content.get("defaults", ()) if isinstance(entry, str)]
    return any(_sets(group, base, path) for base in bases if base != "_self_")
