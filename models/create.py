"""A model from its name and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.registry import MATCH, build_model, check_options

if TYPE_CHECKING:
    from torch import nn


def create_model(name: str, *, num_classes: int, input_channels: int, **options: Any) -> nn.Module:
    """Build a model by its registered name.

    With `match` it has the size of another model (models.match, which also says how near; macs are
    counted at 32 pixels an axis).

    Shapes: the model maps images (B, input_channels, H, W) to logits (B, num_classes).
    Raises: ValueError for an unknown model (naming the nearest), an unknown option (naming the
        nearest of this model, or the models it belongs to), a wrong type or an impossible value.
    """
    if options.get("match") is not None:
        from models.match import match  # it counts what it builds: torch comes with it

        values = check_options(name, options)
        reference, by = (values.pop(key) for key in MATCH)
        shape = (input_channels, *[32] * values.get("ndim", 2))
        found = match(name, reference, by=by, num_classes=num_classes, input_shape=shape, **values)
        options = dict(found.options)
    return build_model(
        name, num_classes=num_classes, input_channels=input_channels, options=options
    )
