"""What every network of convolutions here shares, whether it gives logits or maps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from conv_kan.bases import Basis

_AXES = ("L", "H, W", "D, H, W")


@dataclass(frozen=True)
class Published:
    """What a network shares with its published twin.

    paths: our submodules -> the published ones, of all that have weights; without any, there is no
    twin. `warning` and `refusal` as conv_kan.interop.rules.Layout.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""
    refusal: str = ""


class Network(nn.Module):
    """A body and a head of `num_classes` outputs, with the contract of timm's models.

    `body` holds its parts by name, in their order; `make_head(num_classes)` builds the head.
    `feature_info` says of the maps that other networks
    may read: channels, how many pixels of the image one of theirs stands for along an axis
    (`reduction`), and the path of the module that gives them; of several maps of one size the last
    one is kept, as timm has it. `task` is what the outputs are for.

    Raises: ValueError for an image of other dimensions, or smaller than min_size.
    """

    task: ClassVar[str]
    global_pools: ClassVar[tuple[str | None, ...]] = (None,)

    def __init__(
        self,
        body: Mapping[str, nn.Module],
        make_head: Callable[[int], nn.Module],
        *,
        num_classes: int,
        num_features: int,
        ndim: int,
        min_size: int = 1,
        feature_info: Sequence[Mapping[str, Any]] = (),
        published: Published | None = None,
    ) -> None:
        super().__init__()
        for name, module in body.items():
            self.add_module(name, module)
        self.ndim = ndim
        self.num_classes, self.num_features = num_classes, num_features
        self._make_head = make_head
        self.head = make_head(num_classes)
        self.min_size = min_size
        last = {info["reduction"]: dict(info) for info in feature_info}
        self.feature_info = list(last.values())
        self.published = published or Published()

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new head of the same kind in place; num_classes=0: none, features are returned.

        Raises: ValueError for a pooling that the network does not have.
        """
        if global_pool not in self.global_pools:
            has = "averages" if "avg" in self.global_pools else "averages no positions"
            raise ValueError(
                f"global_pool={global_pool!r} is not made for this network, which {has}; leave it "
                "out"
            )
        self.num_classes = num_classes
        head = self._make_head(num_classes) if num_classes else nn.Identity()
        tensor = next(self.parameters(), torch.empty(0))
        self.head = head.to(tensor.device, tensor.dtype).train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks compute in backward again what they would keep; results are the same.

        Raises: ValueError to enable it where no block can.
        """
        able = [module for module in self.modules() if hasattr(module, "grad_checkpointing")]
        if enable and not able:
            raise ValueError(
                "no block of this network computes again what it would keep; leave gradient "
                "checkpointing off"
            )
        for module in able:
            module.grad_checkpointing = enable  # type: ignore[assignment]

    def no_weight_decay(self) -> set[str]:
        """Return the names of the learned basis shapes; decay would pull them to another basis."""
        return basis_parameters(self)

    def _check_size(self, x: Tensor) -> None:
        if x.ndim != self.ndim + 2:
            axes = _AXES[self.ndim - 1]
            raise ValueError(f"images must have shape (B, C, {axes}), got {tuple(x.shape)}")
        size = tuple(x.shape[2:])
        if min(size) < self.min_size:
            smallest = (self.min_size,) * self.ndim
            raise ValueError(
                f"images of {times(size)} are too small for the strides, pools and norms of "
                f"this network; the smallest are {times(smallest)}. Resize the "
                "images or choose a network with fewer pools"
            )


def basis_parameters(model: nn.Module) -> set[str]:
    """Return the names of all parameters that belong to a basis (Gram betas, for example)."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, Basis)
        for name, _ in module.named_parameters()
    }


def times(size: Sequence[int]) -> str:
    """A size in words: 32x32."""
    return "x".join(map(str, size))
