"""From YAML files and command-line overrides to a checked `Config`, through Hydra.

Nothing runs before every override has been checked, so a misspelt key costs a second, not a night.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.beginning import BeginningConfig
from experiments.config.groups import (
    CONFIG_DIR,
    group_options,
    list_groups,
    parse_override,
    settle_groups,
    swept,
)
from experiments.config.keys import unknown_key
from experiments.config.parse import (
    NAMED_GROUPS,
    TASK_GROUPS,
    keys_of_all_choices,
    parse_config,
    plain_options,
)
from experiments.config.presets import leave_out, tell
from experiments.config.schema import Config
from experiments.errors import ConfigError, nearest
from experiments.tasks.rows import TASKS
from models import list_models, model_options

_ABSENT = object()


def load_config(config_name: str, overrides: Sequence[str] = ()) -> Config:
    """Compose `configs/<config_name>.yaml` with command-line style overrides and check it."""
    return to_config(compose_config(config_name, overrides), overrides)


def to_config(node: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check a composed config, without what a preset says of choices that these overrides changed.

    Raises ConfigError (see experiments.config.parse).
    """
    try:
        values = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        what = str(error).splitlines()[0]
        raise ConfigError(
            f"{error.full_key or 'a value'}: {what}; ${{KEY}} stands for the value of another key, "
            "for example ${model.name}"
        ) from error
    assert isinstance(values, dict)
    given = {str(key): value for key, value in values.items() if key != "hydra"}
    left_out = leave_out(given, overrides)
    config = parse_config(given)
    tell(left_out)
    return config


def compose_group(group: str, name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The values of one choice of a group, composed alone; overrides are named GROUP.KEY=VALUE.

    Raises: ConfigError: there is no such choice, or a key that it does not have.
    """
    options = group_options(group)
    if name not in options:
        raise ConfigError(
            f"{group}={name} does not exist{nearest(name, options)}\n"
            f"Choose one of: {', '.join(options)}"
        )
    try:
        node = _compose(f"{group}/{name}", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        known = list(_dotted("", OmegaConf.to_container(_compose(f"{group}/{name}", ()))))
        for text in overrides:
            key = text.partition("=")[0].lstrip("+~")
            if key not in known:
                raise ConfigError(unknown_key(key, known)) from error
        cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
        raise ConfigError(str(cause or error).splitlines()[0]) from error
    values = OmegaConf.to_container(node[group], resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def compose_config(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose with Hydra; its errors become a ConfigError that names what was meant."""
    usable = settle_groups(config_name, overrides)
    try:
        return _compose(config_name, usable)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, config_name, usable) from error


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    store_rows()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"), warnings.catch_warnings():
        # a file of a group has no _self_, and may be composed alone
        warnings.filterwarnings("ignore", message=".*Defaults list is missing `_self_`")
        return compose(config_name, overrides=list(overrides))


def with_values(node: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A copy of a composed config with values of keys that it has: what composing it anew with
    these overrides gives, in a hundredth of the time.

    Raises: ConfigError for an override that cannot be read.
    """
    changed = copy.deepcopy(node)
    for text in overrides:
        override = parse_override(text)
        if override is None:
            raise ConfigError(f"{text} cannot be read; a text with signs takes quotes")
        OmegaConf.update(changed, override.key_or_group, override.value(), merge=True)
    return changed


def has_key(node: DictConfig, key: str) -> bool:
    """Whether a composed config has a dotted key."""
    return OmegaConf.select(node, key, default=_ABSENT) is not _ABSENT


def check_overrides(config_name: str, overrides: Sequence[str]) -> None:
    """Check overrides before Hydra starts a run; every value of a sweep is checked."""
    for chosen in _sweep_values(overrides):
        load_config(config_name, chosen)


def known_keys(config_name: str, overrides: Sequence[str] = ()) -> list[str]:
    """Dotted keys and group names that an override may name, given those that choose groups."""
    groups = list_groups()
    usable = [o for o in overrides if o.partition("=")[0].lstrip("+~") in groups]
    try:
        node = _compose(config_name, usable)
    except (HydraException, OmegaConfBaseException):
        return []
    return [*groups, *_dotted("", OmegaConf.to_container(node, resolve=False))]


def store_rows() -> None:
    """Give every registered model an entry in the config group `model`, every task in `task`.

    The registries are the one place that knows their options; files in configs/model may add
    entries of their own on top (`defaults: [vggkagn]`), and a file in configs/task replaces one.
    Called before every composition, since scripts register models and tasks of their own.
    """
    store, held = ConfigStore.instance().store, ConfigStore.instance().repo
    held.setdefault("model", {}).update(
        {f"{name}.yaml": _ModelNode(name) for name in list_models()}
    )
    for name, row in TASKS.items():
        if (CONFIG_DIR / "task" / f"{name}.yaml").exists():
            continue
        node = {"task": {**asdict(row.options()), "name": name}, "metrics": asdict(row.metrics())}
        store(group="task", name=name, node=node, package="_global_")
        first = next(iter(row.losses), None)
        loss = {} if first is None else {**asdict(row.losses[first]()), "name": first}
        store(group="loss", name=f"_{name}", node=loss)


class _ModelNode(ConfigNode):
    """The config of a registered model, made when it is chosen.

    Hydra copies all that its store holds at every composition: hundreds of models with tens of
    options each would take most of a second. Of what it chooses it makes a shallow copy first.
    """

    def __init__(self, model: str) -> None:
        super().__init__(f"{model}.yaml", DictConfig({}), "model", package=None, provider=None)
        self._model = model

    def __copy__(self) -> ConfigNode:
        defaults = {key: option.default for key, option in model_options(self._model).items()}
        values = {"name": self._model, **asdict(BeginningConfig()), **plain_options(defaults)}
        node = OmegaConf.create(values)
        return ConfigNode(self.name, node, self.group, self.package, self.provider)

    def __deepcopy__(self, memo: dict[int, Any]) -> _ModelNode:
        return self


# ---------------------------------------------------------------------------------- explanations
def _explain(error: Exception, config_name: str, overrides: Sequence[str]) -> ConfigError:
    """Say what is wrong with an override: the key, and the one that was meant."""
    known = known_keys(config_name, overrides)
    for override in overrides:
        key, separator, _ = override.lstrip("+~").partition("=")
        if not separator and not override.startswith("~"):
            return ConfigError(f"{override!r} is no override; write KEY=VALUE: trainer.epochs=5")
        if known and key not in known and not override.startswith("+"):
            owner = _owner(config_name, overrides, override)
            return owner or ConfigError(unknown_key(key, known, set(keys_of_all_choices())))
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    return ConfigError(str(cause or error).splitlines()[0])


def _owner(config_name: str, overrides: Sequence[str], override: str) -> ConfigError | None:
    """The error of the checks behind Hydra, which know whose option an unknown one is."""
    if override.partition(".")[0] not in ("model", *TASK_GROUPS, *NAMED_GROUPS):
        return None
    added = [f"+{o}" if o == override else o for o in overrides]
    try:
        to_config(_compose(config_name, added), added)
    except ConfigError as error:
        return error
    except (HydraException, OmegaConfBaseException):
        pass
    return None


def _dotted(prefix: str, values: Any) -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(f"{prefix}{key}.", value)


def _sweep_values(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield override lists without sweeps, so that each swept value appears in one of them."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    choices = []
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override():
            key = text.partition("=")[0]
            choices.append([f"{key}={v}" for v in swept(override)])
        else:
            choices.append([text])
    columns = itertools.zip_longest(*choices) if choices else [()]
    for column in columns:
        yield [
            value if value is not None else options[0]
            for value, options in zip(column, choices, strict=True)
        ]
