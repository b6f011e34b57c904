"""A space against the schema, before anything starts: ends, options and samples are composed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from experiments.config.compose import (
    compose_config,
    has_key,
    load_config,
    to_config,
    with_values,
)
from experiments.config.groups import group_options, list_groups
from experiments.config.schema import Config
from experiments.errors import ConfigError, UserError, nearest
from experiments.tuning.request import Request, fixed_keys, refuse_own_keys
from experiments.tuning.space import Dice, Space, Values

SAMPLES = 20
# Which images are compared with which is the same for all trials.
SPLIT = ("data", "data.name", "data.root", "data.split_seed", "data.validation_fraction")
# What a run that begins with another's checkpoint may have otherwise: see trainer.start_from.
PERTURBED = ("optimizer.", "scheduler.", "loss.", "penalty.", "augment.", "model.dropout",
             "trainer.max_grad_norm", "trainer.ema_decay")  # fmt: skip


class Composer:
    """Configs of trials: group choices are composed once, values of keys laid over them."""

    def __init__(self, config_name: str, common: Sequence[str]) -> None:
        self.config_name, self.common = config_name, list(common)
        self._nodes: dict[tuple[str, ...], DictConfig] = {}
        self._groups = set(list_groups())

    def compose(self, values: Mapping[str, str]) -> Config:
        """The checked config of a trial with these values. Raises: ConfigError."""
        overrides = [f"{key}={text}" for key, text in values.items()]
        chosen = tuple(f"{k}={text}" for k, text in values.items() if k in self._groups)
        rest = [o for o in overrides if o not in chosen]
        if chosen not in self._nodes:
            self._nodes[chosen] = compose_config(self.config_name, [*self.common, *chosen])
        node = self._nodes[chosen]
        if not all(has_key(node, override.partition("=")[0]) for override in rest):
            return load_config(self.config_name, [*self.common, *overrides])  # says what is wrong
        return to_config(with_values(node, rest), [*self.common, *overrides])


def check_space(request: Request, composer: Composer) -> None:
    """Raise ConfigError for the first thing about the space that cannot work."""
    space = request.space
    if not space.parameters:
        raise ConfigError(
            "the space has no keys: type tune.space.KEY='DISTRIBUTION', or choose tune=NAME"
        )
    refuse_own_keys(space)
    _refuse_kinds(request)
    _compose_all(composer, corners(space), _explain)
    _compose_all(composer, samples(space), _explain_sample)
    if request.settings.search == "grid":
        space.grid()


def check_models(request: Request, composer: Composer) -> None:
    """Build, without memory, the models of ends and options, if the space changes the model.

    Raises: ConfigError for one that cannot be built. Loads torch.
    """
    from experiments.runs.model import check_model

    if not any(key.split(".")[0] == "model" for key in request.space.keys):
        check_model(composer.compose({}))
        return
    seen = list[dict[str, Any]]()

    def build(config: Config) -> None:
        if config.model not in seen:
            seen.append(config.model)
            check_model(config)

    of_model = [pair for pair in corners(request.space) if pair[0].startswith("model")]
    _compose_all(composer, of_model, _explain, build)
    _compose_all(composer, samples(request.space), _explain_sample, build)


def corners(space: Space) -> Iterator[tuple[str, Values]]:
    """(key, values) of every end and option of each key, with what its condition asks for."""
    for parameter in space.parameters:
        for text in parameter.distribution.corners():
            yield parameter.key, {**space.needed_for(parameter.key), parameter.key: text}


def samples(space: Space) -> Iterator[tuple[str, Values]]:
    """(name, values) of some points of the space, always the same."""
    for number in range(SAMPLES):
        yield f"sample {number}", space.draw(Dice(number))


Explain = Callable[[str, Values, UserError], ConfigError]


def _compose_all(
    composer: Composer,
    points: Iterator[tuple[str, Values]] | Sequence[tuple[str, Values]],
    explain: Explain,
    then: Callable[[Config], None] | None = None,
) -> None:
    for key, values in points:
        try:
            config = composer.compose(values)
            if then is not None:
                then(config)
        except ConfigError as error:
            raise explain(key, values, error) from error


def _explain(key: str, values: Values, error: UserError) -> ConfigError:
    others = [f"{k}={v}" for k, v in values.items() if k != key]
    where = f" with {' '.join(others)}" if others else ""
    return ConfigError(f"tune.space.{key} can be {values[key]}{where}, which is refused: {error}")


def _explain_sample(key: str, values: Values, error: UserError) -> ConfigError:
    given = " ".join(f"{k}={v}" for k, v in values.items())
    return ConfigError(f"the space allows {given}, which together are refused: {error}")


def _refuse_kinds(request: Request) -> None:
    """Keys that no search has, or that this one cannot have."""
    fixed, groups, pbt = fixed_keys(request), list_groups(), request.settings.scheduler == "pbt"
    for parameter in request.space.parameters:
        key, said = parameter.key, f"tune.space.{parameter.key}={parameter.text}"
        if key in SPLIT:
            raise ConfigError(
                f"{said}: all trials are judged by the same validation images; fix {key} for all"
            )
        if key == "trainer.epochs":
            raise ConfigError(
                f"{said}: all trials have the same number of epochs, which schedulers count; fix "
                "trainer.epochs for all, and stop trials early with tune.scheduler=asha"
            )
        if key in fixed:
            raise ConfigError(
                f"{said}: {key} is given for all trials too; leave out one of them "
                f"(tune.space.{key}=null takes it from the space)"
            )
        if pbt and parameter.condition is not None:
            raise ConfigError(
                f"{said}: tune.scheduler=pbt changes keys one by one; leave out the condition"
            )
        if key in groups:
            _check_options(said, key, parameter.distribution.options)
    if pbt and not perturbed(request.space):
        raise ConfigError(
            "tune.scheduler=pbt: no key of the space can change while a trial trains; those that "
            f"can begin with {', '.join(PERTURBED)}"
        )


def perturbed(space: Space) -> list[str]:
    """The keys whose values may change in the middle of a trial."""
    return [key for key in space.keys if key.startswith(PERTURBED)]


def _check_options(said: str, group: str, options: Sequence[str]) -> None:
    if not options:
        raise ConfigError(f"{said}: {group} is a group; its distribution is choice(NAME, ...)")
    known = group_options(group)
    for option in options:
        if option not in (*known, "null"):
            raise ConfigError(
                f"{said}: {group}={option} does not exist{nearest(option, known)}\n"
                f"Choose among: {', '.join(known)}"
            )
