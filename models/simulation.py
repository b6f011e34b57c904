"""A training step in which nothing is computed, and the bytes of its tensors at every moment.

Tensors of torch's FakeTensorMode have a size, a dtype and a device, and no numbers: a step of any
size runs through the same layers, operators and autograd as a real one, and takes no memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import timm.optim
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conv_kan.ops.wavelet_conv import COMPOSED

WEIGHTS, BATCH, GRADIENTS = "weights", "batch", "gradients"
OPTIMIZER, SCRATCH, KEPT, TRANSIENT = "optimizer", "scratch", "kept", "transient"
ROLES = (WEIGHTS, BATCH, GRADIENTS, OPTIMIZER, SCRATCH, KEPT, TRANSIENT)

Bytes = dict[str, int]  # by role


class Ledger(TorchDispatchMode):
    """The bytes of all living tensors by their role, and those of the moment with the largest cost.

    A storage counts once and whole, however many tensors look at it, until nobody does.
    """

    def __init__(self, cost: Callable[[Bytes], float]) -> None:
        super().__init__()
        self.live: Bytes = dict.fromkeys(ROLES, 0)
        self.peak: Bytes = dict(self.live)
        self._cost, self._most = cost, 0.0
        self._storages: dict[int, tuple[int, str, weakref.ref[Any]]] = {}

    def assign(self, tensors: Iterable[Tensor | None], role: str) -> None:
        """Say what tensors are for."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                self._enter(tensor, role)

    def rename(self, role: str, new: str) -> None:
        """Give all that lives in a role another one."""
        for key, (size, old, reference) in self._storages.items():
            if old == role:
                self._storages[key] = size, new, reference
                self.live[old] -= size
                self.live[new] += size

    def forget_peak(self) -> None:
        """Look for the costliest moment anew."""
        self.peak, self._most = dict(self.live), self._cost(self.live)

    def _enter(self, tensor: Tensor, role: str) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            size, old, reference = self._storages[key]
            self.live[old] -= size
        else:
            size, reference = storage.nbytes(), weakref.ref(storage, lambda _: self._leave(key))
        self._storages[key] = size, role, reference
        self.live[role] += size
        cost = self._cost(self.live)
        if cost > self._most:
            self._most, self.peak = cost, dict(self.live)

    def _leave(self, key: int) -> None:
        size, role, _ = self._storages.pop(key)
        self.live[role] -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        parts = COMPOSED.get(func)
        if parts is not None:
            with self:
                return parts(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            known = isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata in self._storages
            if not known:
                self.assign([tensor], TRANSIENT)
        return out


@contextmanager
def simulated(model: nn.Module) -> Iterator[FakeTensorMode]:
    """Inside, the tensors of a model on the device "meta" are on a CPU, without numbers."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        made: dict[Tensor, Tensor] = {}
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        made.setdefault(tensor, _on_cpu(tensor))
                        tensors[name] = made[tensor]  # type: ignore[assignment]
        yield mode


def _on_cpu(tensor: Tensor) -> Tensor:
    like = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(like, requires_grad=tensor.requires_grad)
    return like


def simulate_steps(
    model: nn.Module,
    input_shape: Sequence[int],
    batch: int,
    optimizer: str,
    cost: Callable[[Bytes], float],
) -> Bytes:
    """The bytes at the costliest moment of training steps of a model on the device "meta"."""
    with simulated(model):
        ledger = Ledger(cost)
        take_steps(model, torch.empty(batch, *input_shape), optimizer, ledger)
    return ledger.peak


def take_steps(model: nn.Module, images: Tensor, optimizer: str, ledger: Ledger) -> None:
    """Two training steps under a ledger, which then knows the costliest moment of the second.

    The first leaves what the second finds: the optimizer's state, scratch memory, and labels, which
    are classes of images or of the positions of maps. The loss is cross-entropy, added up over
    several outputs.
    """
    labels: dict[torch.Size, Tensor] = {}
    parameters = [p for p in model.train().parameters() if p.requires_grad]
    update = timm.optim.create_optimizer_v2(parameters, opt=optimizer, lr=1e-3)
    ledger.assign([*model.parameters(), *model.buffers()], WEIGHTS)
    ledger.assign([images], BATCH)
    for p in parameters:
        p.register_post_accumulate_grad_hook(lambda p: ledger.assign([p.grad], GRADIENTS))
    with ledger:
        for _ in range(2):
            for role in (KEPT, TRANSIENT):
                ledger.rename(role, SCRATCH)
            ledger.forget_peak()
            _step(model, images, labels, update, ledger)


def _step(
    model: nn.Module,
    images: Tensor,
    labels: dict[torch.Size, Tensor],
    update: torch.optim.Optimizer,
    ledger: Ledger,
) -> None:
    outputs = model(images)
    several = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    for shape in {output[:, 0].shape for output in several} - labels.keys():
        labels[shape] = torch.zeros(shape, dtype=torch.long)
        ledger.assign([labels[shape]], BATCH)
    losses = [F.cross_entropy(output, labels[output[:, 0].shape]) for output in several]
    loss = torch.stack(losses).sum()
    ledger.rename(TRANSIENT, KEPT)
    loss.backward()
    update.step()
    ledger.assign([t for state in update.state.values() for t in state.values()], OPTIMIZER)
    update.zero_grad()
