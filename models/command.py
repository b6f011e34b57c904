"""What `python -m models` is asked for: a name or a pattern, and options of a model and a step."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml

from models.options import Option, nearest_names
from models.registry import check_options, list_models, model_options

DESCRIPTION = """\
Print the layers of a model with their parameters and multiply-adds, and a forecast of the memory
that a training step takes at its peak on a CPU. Nothing is computed and no weight exists. Without a
name, or with a pattern, print the names that fit."""
EXAMPLES = """\
examples:
  python -m models '*kagn*'                            names
  python -m models vggkagn                             with its defaults, images of 3x32x32
  python -m models reskagnet depth=50 side=224 num_classes=1000 batch_size=32
  python -m models simple_conv_kan 'layer_sizes=[16,32,32,64]' ndim=1 side=512
  python -m models vggkagn batch_size=256 --json       the same for programs"""
# Beside the options of the model itself.
OPTIONS = (
    Option("side", int, 32, "of the images, along each axis", minimum=1),
    Option("input_channels", int, 3, "channels of the images", minimum=1),
    Option("num_classes", int, 10, "logits per image", minimum=1),
    Option("batch_size", int, 128, "images of a training step", minimum=1),
    Option("optimizer", str, "adamw", "of a training step",
           choices=("adamw", "sgd", "lion", "lamb")),
)  # fmt: skip
_OWN = {option.name: option for option in OPTIONS}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m models", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", default="*", metavar="NAME", help="a model or a pattern")
    own = ", ".join(f"{option.name}={option.default}" for option in OPTIONS)
    text = f"options of the model, as in configs, and: {own}"
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_intermixed_args(arguments)


def is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def names_like(pattern: str) -> list[str]:
    """The names that fit. Raises: ValueError if none does."""
    names = list_models(pattern)
    if not names:
        near = nearest_names(pattern.strip("*?"), list_models(), 3)
        hint = f"the nearest names are {', '.join(near)}" if near else "leave it out for all names"
        raise ValueError(f"no model is named like {pattern!r}; {hint}")
    return names


def read_options(name: str, given: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of OPTIONS, and those of the options of the model that are given.

    Raises: ValueError for an unknown model or option, what is no KEY=VALUE, and a wrong value.
    """
    known = model_options(name)
    values = {option.name: option.default for option in OPTIONS}
    rest: dict[str, Any] = {}
    for text in given:
        key, value = _pair(text)
        if key in _OWN:
            values[key] = _OWN[key].check(value)
            continue
        near = [] if key in known else nearest_names(key, [*known, *_OWN], 1)
        if near and near[0] in _OWN:
            raise ValueError(f"unknown option {key!r}; did you mean {near[0]!r}?")
        rest[key] = value
    check_options(name, rest)
    return values, rest


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"{text!r} is no option; write KEY=VALUE, for example batch_size=64")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r}: write the value as in a config, [1,2] or null") from error
