"""`python -m models`: the names of models, or the layers, the size and the memory of one."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.command import is_pattern, names_like, parse, read_options

if TYPE_CHECKING:
    from models.complexity import Layer
    from models.memory import Forecast

WIDTH = 100  # characters at least
# The parts of a forecast in words.
PARTS = {
    "weights": "weights, there before the step",
    "batch": "images and labels, there before the step",
    "gradients": "gradients, as far as backward has come",
    "optimizer": "state of the optimizer",
    "scratch": "buffers that layers keep for their next step",
    "kept": "activations kept for backward",
    "transient": "what a layer computes with",
    "holes": "unused between blocks that come and go",
    "code": "code of libraries, loaded by the first step",
}


@dataclass(frozen=True)
class Account:
    """A model and what it costs."""

    name: str
    options: dict[str, Any]
    parameters: int
    macs: int
    layers: list[Layer]
    memory: Forecast


def account_for(name: str, given: Sequence[str]) -> Account:
    """What a model costs with options given as KEY=VALUE.

    Raises: ValueError for an unknown model or option, a wrong value, and refused images.
    """
    step, options = read_options(name, given)
    import torch  # which takes seconds

    from conv_kan.ops.backend import BackendError
    from models.complexity import count_macs, count_parameters, list_layers
    from models.create import create_model
    from models.memory import forecast_memory
    from models.simulation import simulated

    sizes = {key: step[key] for key in ("num_classes", "input_channels")}
    with torch.device("meta"):
        model = create_model(name, **sizes, **options)
    shape = (step["input_channels"], *[step["side"]] * getattr(model, "ndim", 2))
    try:
        with simulated(model):
            layers, macs = list_layers(model, shape), count_macs(model, shape)
        memory = forecast_memory(model, shape, step["batch_size"], step["optimizer"])
    except BackendError as error:
        raise ValueError(str(error)) from None
    return Account(name, {**step, **options}, count_parameters(model), macs, layers, memory)


def as_json(account: Account) -> str:
    memory = {**asdict(account.memory), "growth": account.memory.growth}
    memory["total"] = account.memory.total
    return json.dumps({**asdict(account), "memory": memory}, indent=2)


def table_of_layers(account: Account) -> Table:
    table = Table(title=Text(account.name), show_footer=True)
    table.add_column("layer", "all", overflow="fold")
    table.add_column("kind")
    for name, footer in (
        ("output", ""),
        ("parameters", f"{account.parameters:,}"),
        ("multiply-adds", f"{account.macs:,}"),
    ):
        table.add_column(name, footer, justify="right")
    for layer in account.layers:
        shape = "x".join(map(str, layer.output_shape))
        table.add_row(layer.path, layer.kind, shape, f"{layer.parameters:,}", f"{layer.macs:,}")
    rest = account.parameters - sum(layer.parameters for layer in account.layers)
    if rest:
        table.add_row("", "of no layer", "", f"{rest:,}", "")
    return table


def table_of_memory(account: Account) -> Table:
    step, memory = account.options, account.memory
    title = f"peak of a training step on a CPU, {step['batch_size']} images, {step['optimizer']}"
    table = Table(title=title, show_footer=True)
    table.add_column("part", "all")
    table.add_column("MiB", _mebibytes(memory.total), justify="right")
    for part, size in asdict(memory).items():
        table.add_row(PARTS[part], _mebibytes(size))
    table.add_section()
    table.add_row("growth: all but what is there before", _mebibytes(memory.growth))
    return table


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def main(arguments: Sequence[str]) -> None:
    asked = parse(arguments)
    if is_pattern(asked.name):
        names = names_like(asked.name)
        print(json.dumps(names) if asked.json else "\n".join(names))
        return
    account = account_for(asked.name, asked.options)
    if asked.json:
        print(as_json(account))
        return
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table_of_layers(account), table_of_memory(account), sep="\n")


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # a reader that goes away ends this without a word
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        main(sys.argv[1:])
    except ValueError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
