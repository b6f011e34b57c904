"""What maps the parts of a network make of an image, found without computing any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

_SIZE = 224
_DEPTH = 2  # of the names of the parts that are looked at


@dataclass(frozen=True)
class Seen:
    """A part of a network, and the shapes of one image's maps before and behind it."""

    path: str
    before: torch.Size
    behind: torch.Size

    @property
    def is_square(self) -> bool:
        """Whether these are maps of channels, and no tokens or numbers."""
        return all(len(s) == 4 and s[2] == s[3] > 1 for s in (self.before, self.behind))


def probe(net: nn.Module, input_channels: int, image_size: int | None = None) -> list[Seen]:
    """Run a network on the device "meta"; its parts in the order in which they end.

    The modes of the modules are the same afterwards.
    """
    seen: list[Seen] = []
    paths = [p for p, _ in net.named_modules() if p and p.count(".") < _DEPTH]
    handles = [
        net.get_submodule(path).register_forward_hook(partial(_record, seen, path))
        for path in paths
    ]
    modes = {module: module.training for module in net.modules()}
    tensors = dict([*net.named_parameters(), *net.named_buffers()])
    side = image_size or _SIZE
    try:
        shadow = {name: torch.empty_like(t, device="meta") for name, t in tensors.items()}
        images = torch.empty(1, input_channels, side, side, device="meta")
        with torch.no_grad():
            functional_call(net.eval(), shadow, (images,))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return [Seen("", images.shape, images.shape), *seen]


def _record(seen: list[Seen], path: str, module: nn.Module, inputs: Any, output: Any) -> None:
    if len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
        seen.append(Seen(path, inputs[0].shape, output.shape))


def last_of_every_size(seen: Sequence[Seen], told: Sequence[str] = ()) -> list[dict[str, Any]]:
    """feature_info: the last map of every size, or those of the parts that are `told`."""
    side, found = seen[0].before[-1], {}
    for part in seen[1:]:
        if part.is_square and (not told or part.path in told):
            key = part.path if told else part.behind[-1]
            found[key] = {
                "num_chs": part.behind[1],
                "reduction": side // part.behind[-1],
                "module": part.path,
            }
    return list(found.values())


def stages_of(net: nn.Module, seen: Sequence[Seen]) -> list[Seen]:
    """The stages of a network: of the parts that keep or halve the size, and hold two convolutions
    or more, the one with the most parameters for every size behind it."""
    largest: dict[int, tuple[int, Seen]] = {}
    for part in seen[1:]:
        if not part.is_square or part.before[-1] > 2 * part.behind[-1]:
            continue
        module = net.get_submodule(part.path)
        if sum(isinstance(m, nn.Conv2d) for m in module.modules()) < 2:
            continue
        size, count = part.behind[-1], sum(p.numel() for p in module.parameters())
        if size not in largest or count > largest[size][0]:
            largest[size] = (count, part)
    return [part for _, (_, part) in sorted(largest.items(), reverse=True)]
