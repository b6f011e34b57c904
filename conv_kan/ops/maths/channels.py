"""Values that belong to channels, spread over the channels of an image."""

from __future__ import annotations

from torch import Tensor

from conv_kan.ops.maths.dtypes import working_dtype


def per_group(values: Tensor, x: Tensor) -> Tensor:
    """values_g at every channel of group g of neighbouring channels.

    Shapes: values (G,), x (B, C, *S) -> (C, 1, ...), or (1, 1, ...) for G = 1.
    Raises: ValueError if G does not divide C.
    """
    num_groups, channels = values.shape[0], x.shape[1]
    if channels % num_groups:
        raise ValueError(
            f"an input of {channels} channels cannot be divided into {num_groups} groups; "
            f"pass a multiple of {num_groups} channels."
        )
    if num_groups > 1:
        values = values.unsqueeze(1).expand(-1, channels // num_groups).reshape(-1)
    return values.to(working_dtype(x)).view(-1, *[1] * (x.dim() - 2))


def per_channel(values: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """The columns of `values`, each with one entry per channel; groups of channels share the rows.

    Shapes: values (c, K), x (B, C, *S) with c dividing C -> K tensors (C, 1, ...), or (1, 1, ...)
    for c = 1; channel i takes row i mod c.
    Raises: ValueError if c does not divide C.
    """
    rows, channels = values.shape[0], x.shape[1]
    if channels % rows:
        raise ValueError(
            f"an input of {channels} channels cannot share a shape of {rows} rows; "
            f"pass a multiple of {rows} channels."
        )
    if rows > 1:
        values = values.repeat(channels // rows, 1)
    columns = values.to(working_dtype(x)).unbind(1)
    return tuple(column.view(-1, *[1] * (x.dim() - 2)) for column in columns)
