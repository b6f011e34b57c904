"""Networks of segmentation_models_pytorch under the contract of models.maps.

The library is imported with the first of them, and is no requirement of others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.foreign import in_order
from models.maps import MapNet, resize
from models.network import Network
from models.registry import list_models, parse_reference

_TIMM = "tu-"
_DEEPEST = 5
_CHANNELS = (256, 128, 64, 32, 16)  # of decoders with as many levels as the encoder
_LEAST = {"pan": 8}  # sides of the smallest maps that a decoder can halve on
_BY_LEVEL = ("unet", "unetplusplus", "manet")


class SmpNet(MapNet):
    """logits = resize(head(decode(encode(x)))), of parts of segmentation_models_pytorch.

    Encoder and decoder hand over all maps at once, not level by level as a MapNet's.

    Shapes: x (B, C, H, W), sides divisible by size_divisor -> logits (B, num_classes, H, W).
    Raises: ValueError for other sides, naming the next ones that work.
    """

    def __init__(self, net: Any, *, num_classes: int, least: int) -> None:
        conv = next(m for m in net.segmentation_head.modules() if isinstance(m, nn.Conv2d))
        Network.__init__(
            self,
            {"encoder": net.encoder, "decoder": net.decoder},
            _Head(net.segmentation_head),
            num_classes=num_classes,
            num_features=conv.in_channels,
            ndim=2,
            min_size=least * int(net.encoder.output_stride),
        )
        self.size_divisor = int(net.encoder.output_stride)

    def forward_features(self, x: Tensor) -> tuple[Tensor, ...]:
        self._check_size(x)
        size = tuple(x.shape[2:])
        if any(side % self.size_divisor for side in size):
            works = tuple(-(-side // self.size_divisor) * self.size_divisor for side in size)
            raise ValueError(
                f"images of {size[0]}x{size[1]}: both sides must be divisible by "
                f"{self.size_divisor} for this encoder and decoder; pad or resize them to "
                f"{works[0]}x{works[1]}"
            )
        return (self.decoder(self.encoder(x)),)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.forward_head(self.forward_features(x))
        return resize(logits, x, corners=True) if self.num_classes else logits

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:  # type: ignore[override]
        """Return the number of the layer that a parameter is in, in the order of their names."""
        names = [name for name, _ in self.named_parameters()]
        layers = in_order(names, depth=2 if coarse else 3)
        return lambda name: layers[name]


class _Head:
    """Makes heads like the one given, of any number of classes."""

    def __init__(self, head: nn.Module) -> None:
        self.head = head

    def __call__(self, num_classes: int) -> nn.Module:
        head = copy.deepcopy(self.head)
        for path, conv in head.named_modules():
            if isinstance(conv, nn.Conv2d) and conv.out_channels != num_classes:
                kernel = conv.kernel_size[0]  # odd, as its padding is
                new = nn.Conv2d(conv.in_channels, num_classes, kernel, padding=kernel // 2)
                head.set_submodule(path, new)
                break
        return head


def build_smp(
    *,
    num_classes: int,
    input_channels: int,
    decoder: str,
    encoder: str,
    depth: int | None,
    pretrained: bool,
) -> SmpNet:
    """A decoder on an encoder.

    Raises: ValueError if the library is not installed, for an encoder that it does not know, that
        has fewer maps than `depth`, or whose maps are of other sizes than with its default options,
        and for what the decoder does not take.
    """
    library = _library()
    name, options = _parse(encoder)
    if name.startswith(_TIMM):
        most = _most(name.removeprefix(_TIMM), options)
        if depth is not None and depth > most:
            raise ValueError(f"depth={depth}: {encoder} halves its maps {most} times; type less")
        depth = most if depth is None else depth
    depth = _DEEPEST if depth is None else depth
    more = {"decoder_channels": _CHANNELS[:depth]} if decoder in _BY_LEVEL else {}
    weights = "imagenet" if not name.startswith(_TIMM) else True
    try:
        net = library.create_model(
            decoder,
            encoder_name=name,
            encoder_weights=weights if pretrained else None,
            in_channels=input_channels,
            classes=num_classes,
            encoder_depth=depth,
            **more,
            **options,
        )
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        text = str(error).strip("\"'")
        given = f"decoder={decoder}, encoder={encoder!r}, depth={depth}"
        raise ValueError(f"{given}: {text}") from error
    return SmpNet(net, num_classes=num_classes, least=_LEAST.get(decoder, 1))


def _library() -> ModuleType:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise ValueError(
            "the networks of segmentation_models_pytorch need that library: pip install "
            "segmentation-models-pytorch"
        ) from error
    return segmentation_models_pytorch


def _parse(encoder: str) -> tuple[str, dict[str, Any]]:
    """The name of an encoder, and the options that follow that of a network of this library."""
    name, *given = encoder.split() or [""]
    own = name.removeprefix(_TIMM)
    if not given:
        return name, {}
    if not name.startswith(_TIMM) or own not in list_models():
        raise ValueError(
            f"encoder={encoder!r}: options are taken by networks of this library, "
            "tu-reskagnet_18x32p for example; leave them out"
        )
    _, options = parse_reference(f"{own} {' '.join(given)}")
    named = {part.partition("=")[0] for part in given}
    return name, {key: value for key, value in options.items() if key in named}


def _most(name: str, options: Mapping[str, Any]) -> int:
    """How often an encoder of timm's registry halves its maps."""

    def reductions(**given: Any) -> list[int]:
        net: Any = timm.create_model(name, features_only=True, **given)
        return list(net.feature_info.reduction())

    try:
        with torch.device("meta"):
            usual, own = reductions(), reductions(**options)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"encoder={_TIMM}{name}: {error}") from error
    if own != usual:
        raise ValueError(
            f"encoder={_TIMM}{name}: by these options ({', '.join(options)}) its maps are reduced "
            f"{own} times, where segmentation_models_pytorch builds for the {usual} of its "
            "defaults; leave them out, or choose a network that has these by default"
        )
    return min(_DEEPEST, max(own).bit_length() - 1)
