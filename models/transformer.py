"""Vision transformers of timm with learned functions behind their attention.

Every row of models.rows.transformer is built here. What timm's network keeps of its contract
(set_input_size, forward_intermediates, set_grad_checkpointing, ...) it keeps here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from timm.layers import get_device_dtype
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.feedforward import RationalMlp, feed_forward
from models.foreign import chosen_head_layers
from models.mimetic import draw_attention
from models.network import basis_parameters


class KANTransformer(VisionTransformer):
    """timm's VisionTransformer with a feed-forward of learned functions, and a head of any kind.

    x += drop_path(scale(attention(norm(x)))); x += drop_path(scale(feed_forward(norm(x))))

    Shapes: x (B, C, H, W) of the size it was made for -> logits (B, num_classes).
    Raises: ValueError for images of another size.
    Source: timm; feed-forwards as models.feedforward says.
    """

    def __init__(
        self, make_head: Callable[[int], nn.Module], *, init: str, mimetic: bool, **arguments: Any
    ) -> None:
        super().__init__(weight_init="skip", **arguments)
        self._make_head, self._init, self._mimetic = make_head, init, mimetic
        self.head: nn.Module = make_head(self.num_classes)  # type: ignore[assignment]
        self.init_weights(needs_reset=False)

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Draw all weights: timm's first, then those of feed-forwards and attention.

        The published code of KAT does it in the other order, and timm's draw (normal, deviation
        0.02) is what its feed-forwards begin with: init="published" keeps that.
        """
        mode = mode or self.weight_init_mode
        super().init_weights("" if mode == "reset" else mode, needs_reset)
        for block in self.blocks:
            if self._init == "variance" and isinstance(block.mlp, RationalMlp):
                block.mlp.init_weights()
            if self._mimetic:
                draw_attention(block.attn)  # type: ignore[arg-type]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new head of the same kind in place; num_classes=0: none, features are returned."""
        super().reset_classifier(num_classes, global_pool)
        if num_classes:
            head = self._make_head(num_classes).to(**get_device_dtype(self))
            self.head = head.train(self.training)  # type: ignore[assignment]

    def no_weight_decay(self) -> set[str]:
        """Positions, tokens and learned shapes."""
        names: set[str] = super().no_weight_decay()
        return names | basis_parameters(self) | _rational_parameters(self)

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        self._check_size(x)
        return super().forward(x, *args, **options)

    def _check_size(self, x: Tensor) -> None:
        size = self.patch_embed.img_size
        if x.ndim != 4 or tuple(x.shape[2:]) != tuple(size):
            side = f"; make the model with image_size={x.shape[-1]}, or" if x.ndim == 4 else ":"
            raise ValueError(
                f"images of shape {tuple(x.shape)}: this network takes (B, C, {size[0]}, "
                f"{size[1]}){side} call set_input_size(({', '.join(map(str, x.shape[2:]))}))"
            )


class DistilledKANTransformer(KANTransformer, VisionTransformerDistilled):
    """KANTransformer with a second class token, whose linear head is averaged with the head's."""


def build_transformer(*, num_classes: int, input_channels: int, **options: Any) -> nn.Module:
    """A vision transformer from its options.

    Raises: ValueError for a size that patches do not divide, a width that heads do not, options of
        another feed-forward or of a KAN head without one, and combinations that timm has not.
    """
    _check(options)
    given = {name: options[name] for name in ("activation", "groups", "degree", "grid_size",
             "spline_order", "base")}  # fmt: skip
    published = options["init"] == "published"
    network = DistilledKANTransformer if options["distilled"] else KANTransformer
    made = network(
        partial(_head, options),
        init=options["init"],
        mimetic=options["mimetic"],
        num_classes=num_classes,
        in_chans=input_channels,
        img_size=options["image_size"],
        patch_size=options["patch_size"],
        embed_dim=options["width"],
        depth=options["depth"],
        num_heads=options["heads"],
        mlp_ratio=_ratio(options),
        mlp_layer=feed_forward(options["feed_forward"], given, published),
        global_pool=options["pool"],
        no_embed_class=options["position"] == "patches",
        init_values=options["layer_scale"],
        drop_rate=options["dropout_linear"],
        proj_drop_rate=options["dropout"],
        attn_drop_rate=options["dropout_attention"],
        pos_drop_rate=options["dropout_position"],
        drop_path_rate=options["drop_path"],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    made.set_grad_checkpointing(options["grad_checkpointing"])
    return made


def _check(options: Mapping[str, Any]) -> None:
    size, patch = options["image_size"], options["patch_size"]
    if size % patch:
        sides = [p for p in range(1, size + 1) if size % p == 0]
        raise ValueError(
            f"image_size={size} is not divided by patch_size={patch}; use one of "
            f"{', '.join(map(str, sides))}, or another image_size"
        )
    width, heads = options["width"], options["heads"]
    if width % heads:
        raise ValueError(
            f"width={width} is not divided by heads={heads}; use width={-(-width // heads) * heads}"
        )
    if options["distilled"] and options["pool"] != "token":
        raise ValueError("distilled=true reads the class tokens; type pool=token")
    if options["expansion"] is None and options["feed_forward"] in ("mlp", "kat"):
        raise ValueError(
            f"feed_forward={options['feed_forward']} has hidden channels; type expansion=4"
        )


def _ratio(options: Mapping[str, Any]) -> float:
    """Hidden channels in widths, of which the groups of kat leave no remainder."""
    width, expansion = options["width"], options["expansion"]
    if expansion is None:
        return 0.0
    groups = (options["groups"] or 8) if options["feed_forward"] == "kat" else 1
    hidden = max(round(width * expansion / groups), 1) * groups
    return (hidden + 0.5) / width  # timm rounds down


def _head(options: Mapping[str, Any], num_classes: int) -> nn.Module:
    """The classifier, behind tanh features if there are any; dropout comes before all of it."""
    width, inner = options["width"], options["pre_logits"]
    if not num_classes:
        return nn.Identity()
    mlp = chosen_head_layers(options)
    ends = [inner or width, num_classes]
    head = nn.Linear(*ends) if mlp is None else mlp(ends)
    if inner is None:
        return head
    return nn.Sequential(nn.Linear(width, inner), nn.Tanh(), head)


def _rational_parameters(model: nn.Module) -> set[str]:
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name in getattr(module, "learned_shapes", ())
    }
