"""Networks without their head that return maps of several sizes, as timm's `features_only`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import FeatureHookNet
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from models.network import Network


class FeatureNet(FeatureHookNet):
    """x -> [map of every index], of the parts that a network's feature_info tells.

    Parts behind the last of them are left out. `feature_info` says of the returned maps, in their
    order, what there is to know: channels() and reduction(), as timm's.

    Shapes: x (B, C, *S) -> maps (B, channels, *S / reduction), rounded up, from the first to the
        last.
    Raises: ValueError for an index of no map, naming those that there are, and from forward for
        networks whose parts give no maps, but tokens.
    """

    def __init__(
        self, model: Network, out_indices: int | Sequence[int] | None = None, **options: Any
    ) -> None:
        chosen = _indices(out_indices, len(model.feature_info))
        super().__init__(model, out_indices=chosen, flatten_sequential=True, **options)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = super().forward(x)
        for y, channels in zip(maps, self.feature_info.channels(), strict=True):
            if y.dim() != x.dim() or y.shape[1] != channels:
                raise ValueError(
                    f"a part of this network gives {tuple(y.shape)}, no map of {channels} "
                    "channels; take a network of convolutions, or timm's own by timm.create_model"
                )
        return maps


def feature_net(
    model: nn.Module, out_indices: int | Sequence[int] | None = None, **options: Any
) -> nn.Module:
    """FeatureNet; of a transformer timm's net, which makes maps of the tokens between its blocks.

    Raises: as FeatureNet.
    """
    if not hasattr(model, "forward_intermediates"):
        return FeatureNet(model, out_indices, **options)  # type: ignore[arg-type]
    count = len(model.feature_info)  # type: ignore[arg-type]
    return FeatureGetterNet(model, out_indices=_indices(out_indices, count), **options)


def _indices(given: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """From 0, in the order of the maps; given are indices, of which -1 is the last, or how many."""
    if not count:
        raise ValueError("this network tells of no maps; choose one with stages")
    last = range(-given, 0) if isinstance(given, int) else given
    indices = range(count) if last is None else last
    if not indices or not all(-count <= index < count for index in indices):
        raise ValueError(
            f"out_indices={given!r}: the network has the maps 0 to {count - 1}, -1 is the last; "
            f"name some of them, or how many from behind: 1 to {count}"
        )
    return tuple(sorted({index % count for index in indices}))
