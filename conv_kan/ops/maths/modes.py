"""Which way of computing fits the surroundings of a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes


def autocast_device(x: torch.Tensor) -> str:
    """The device type to name to torch.autocast, which knows nothing of "meta"."""
    return "cpu" if x.device.type == "meta" else x.device.type


def needs_composition() -> bool:
    """Whether plain differentiable torch is asked for: by a compiler, a tracer or torch.func.

    A compiler decides for itself what to keep and what to compute again; torch.func and forward
    mode need every operation to be differentiable in every way.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def runs_again() -> bool:
    """Whether a layer is called in a backward pass, by activation checkpointing.

    It must then save as many tensors as the first time, and leave nothing behind.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def simulation() -> object | None:
    """torch's FakeTensorMode inside of which this is called: tensors have sizes but no numbers."""
    mode: object | None = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
    return mode


def is_simulated() -> bool:
    """Whether nothing is computed."""
    return simulation() is not None


@contextmanager
def lasting_tensors() -> Iterator[None]:
    """Inside, tensors are made as outside of every mode, on the CPU: for later calls to read."""
    with torch.inference_mode(False), torch.device("cpu"), _disable_current_modes():
        yield


def only_compiles() -> bool:
    """Whether the surroundings are a compiler, which takes an operator of torch as it is."""
    return (
        torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not torch._C._are_functorch_transforms_active()
    )
