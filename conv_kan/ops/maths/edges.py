"""The edges of a layer of wavelets, in the layout in which they are computed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from conv_kan.ops.maths.dtypes import promote
from conv_kan.ops.maths.geometry import Geometry
from conv_kan.ops.maths.modes import is_simulated

# Elements of one tile of wavelets; on a CPU a few of them fit its second cache.
_TILE, _TILE_CPU = 1 << 23, 1 << 17


class Edges:
    """The edges in the layout in which they are computed, and the tiles that cover them.

    columns (groups, C/groups, B, positions) of x; rows (O, taps, C/groups) of the weight; maps of
    outputs are (O, B, *S_out) and at least float32.
    """

    def __init__(
        self, x: Tensor, weight: Tensor, scale: Tensor, translation: Tensor, geometry: Geometry
    ) -> None:
        self.geometry, self.size, self.batch = geometry, x.shape[2:], x.shape[0]
        wide = promote(x).movedim(1, 0).contiguous()
        self.columns = wide.view(geometry.groups, weight.shape[1], x.shape[0], self.size.numel())
        self.rows = (
            weight.flatten(2).transpose(1, 2).contiguous()
            if geometry.ndim
            else (weight.unsqueeze(1))
        )
        self.scale = promote(scale)
        self.inverse = self.scale.reciprocal().unsqueeze(2)
        self.shift = -promote(translation).unsqueeze(2) * self.inverse

    def new_maps(self) -> Tensor:
        """Zeros (O, B, *S_out)."""
        out = self.geometry.output_size(self.size)
        wide = torch.promote_types(self.rows.dtype, torch.float32)
        return self.columns.new_zeros((self.rows.shape[0], self.batch, *out), dtype=wide)

    def tiles(self, limit: int | None = None) -> Iterator[tuple[int, slice, slice]]:
        """(group, outputs, samples) of at most `limit` elements, but at least one sample.

        In a simulation one of each size: the others take the same memory.
        """
        seen: set[tuple[int, ...]] = set()
        for group, outputs, samples in self._all_tiles(limit):
            size = outputs.stop - outputs.start, samples.stop - samples.start
            if size not in seen or not is_simulated():
                yield group, outputs, samples
            seen.add(size)

    def _all_tiles(self, limit: int | None) -> Iterator[tuple[int, slice, slice]]:
        groups, channels, batch, positions = self.columns.shape
        per_sample, c_out = channels * positions, self.rows.shape[0]
        if limit is None:
            limit = _TILE_CPU if self.columns.device.type == "cpu" else _TILE
        num_samples = max(limit // max(per_sample, 1), 1)
        num_outputs = max(limit // max(per_sample * batch, 1), 1)
        per_group = c_out // groups
        for first in range(0, c_out, per_group):
            for o in range(first, first + per_group, num_outputs):
                outputs = slice(o, min(o + num_outputs, first + per_group))
                for b in range(0, batch, num_samples):
                    yield first // per_group, outputs, slice(b, min(b + num_samples, batch))

    def inputs(self, group: int, outputs: slice, samples: slice) -> Tensor:
        """u = (x_c - tau_oc) / s_oc of a tile: (outputs, C/groups, samples * positions)."""
        x = self.columns[group][:, samples].flatten(1)
        return torch.addcmul(self.shift[outputs], x, self.inverse[outputs])
