"""A model from its name and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.registry import MATCH, build_model, check_options

if TYPE_CHECKING:
    from torch import nn

    from models.description import Description


def create_model(
    name: str,
    *,
    input_channels: int,
    num_classes: int | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a model by its registered name.

    With `match` it has the size of another model (models.match, which also says how near; macs are
    counted at 32 pixels an axis). With `features_only` it has no head and needs no num_classes, and
    returns the maps of `out_indices`, all by default: see models.features.feature_net.

    Shapes: the model maps images (B, input_channels, H, W) to logits (B, num_classes).
    Raises: ValueError for an unknown model (naming the nearest), an unknown option (naming the
        nearest of this model, or the models it belongs to), a wrong type or an impossible value.
    """
    if num_classes is None and not features_only:
        raise ValueError(f"{name}: num_classes is missing, or features_only=True")
    if out_indices is not None and not features_only:
        raise ValueError(f"{name}: out_indices={out_indices!r} wants features_only=True, too")
    sizes = {"num_classes": 1 if num_classes is None else num_classes}
    sizes["input_channels"] = input_channels
    if options.get("match") is not None:
        options = _matched(name, sizes, options)
    model: Any = build_model(name, **sizes, options=options)
    if features_only:
        from models.features import feature_net  # timm comes with it

        return feature_net(model, out_indices)
    return model  # type: ignore[no-any-return]


def create_described(description: Description) -> nn.Module:
    """The network that a description names, its weights not yet those of training.

    Nothing is downloaded: pretrained weights are where a network began, and no part of what it is.

    Raises: ValueError as create_model.
    """
    options = {k: v for k, v in description.options.items() if k != "pretrained"}
    sizes = {name: getattr(description, name) for name in ("num_classes", "input_channels")}
    return create_model(description.model, **sizes, **options)


def _matched(name: str, sizes: Mapping[str, int], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the width that makes the model as large as another one."""
    from models.match import match  # it counts what it builds: torch comes with it

    values = check_options(name, options)
    reference, by = (values.pop(key) for key in MATCH)
    shape = (sizes["input_channels"], *[32] * values.get("ndim", 2))
    classes = sizes["num_classes"]
    found = match(name, reference, by=by, num_classes=classes, input_shape=shape, **values)
    return dict(found.options)
