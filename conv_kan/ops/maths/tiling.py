"""A bound on the memory of the expansion, at the price of smaller convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from conv_kan.ops.maths.buffers import buffer_size
from conv_kan.ops.maths.checks import check_int
from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.plan import Plan

_CACHE = 4 << 20  # bytes; near the second cache of a core, where smaller tiles only cost calls
_TILE = 256 << 20
_LIMIT: ContextVar[int | None] = ContextVar("expansion_limit", default=None)


@contextmanager
def expansion_limit(num_bytes: int) -> Iterator[None]:
    """Expand at most num_bytes at a time, but at least one sample, in every layer called inside.

        with expansion_limit(64 << 20):
            loss = model(images).mean()
        loss.backward()

    Samples are expanded and convolved in tiles of the batch, forward and, wherever it is called, in
    backward; a KAConv, whose norm looks at all samples, takes its channels in tiles. Gradients of
    weights are sums over the tiles, so that their last bits differ.
    torch.compile and torch.func decide for themselves what to hold, and do not read this.
    Raises: ValueError if num_bytes is not positive, TypeError if it is not an integer.
    """
    token = _LIMIT.set(check_int("num_bytes", num_bytes, 1, 64 << 20))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def sample_tiles(x: Tensor, plan: Plan) -> list[slice]:
    """The samples whose expansions are held together; one slice of all without a limit."""
    limit, batch = _LIMIT.get(), x.shape[0]
    if limit is None or batch == 0:
        return [slice(0, batch)]
    per_sample = math.prod(buffer_size(x, plan)[1:]) * plan.dtype.itemsize
    count = max(limit // max(per_sample, 1), 1)
    return [slice(b, min(b + count, batch)) for b in range(0, batch, count)]


def channel_tiles(x: Tensor, bytes_per_channel: int) -> list[slice]:
    """The channels of x whose maps are held together.

    As many as a cache of a CPU holds, or within _TILE on other devices; fewer under a limit.
    """
    channels, limit = x.shape[1], _LIMIT.get()
    held = _CACHE if x.device.type == "cpu" else _TILE
    held = held if limit is None else min(held, limit)
    count = max(held // max(bytes_per_channel, 1), 1)
    return [slice(c, min(c + count, channels)) for c in range(0, channels, count)]


def join_inputs(parts: Sequence[Sequence[Tensor | None]]) -> list[Tensor | None]:
    """Gradients of (x, u, *shape) of all samples from those of every tile."""
    joined: list[Tensor | None] = []
    for i, grads in enumerate(zip(*parts, strict=True)):
        found = [grad for grad in grads if grad is not None]
        if not found:
            joined.append(None)
        else:
            joined.append(torch.cat(found) if i < 2 else add_tiles(found))
    return joined


def add_tiles(grads: Sequence[Tensor]) -> Tensor:
    """The sum, at least in float32, in the dtype of its terms."""
    total = promote(grads[0]).clone()
    for grad in grads[1:]:
        total += grad
    return total.to(grads[0].dtype)
