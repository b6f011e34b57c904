"""Images of any size: padded and cut, or in windows, as one pass over the whole would be."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.tasks.windows import pad_to_multiple, run_padded, segment

SIZES = [(13,), (13, 9), (7, 10, 5)]
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Pointwise(nn.Module):
    """A network that looks at a pixel alone, and takes sides of one size only if told so."""

    def __init__(self, ndim, size_divisor=1, largest=None):
        super().__init__()
        self.conv, self.largest = CONVS[ndim - 1](2, 3, 1), largest
        self.size_divisor, self.seen = size_divisor, []

    def forward(self, x):
        self.seen.append(tuple(x.shape[2:]))
        assert all(side % self.size_divisor == 0 for side in x.shape[2:])
        assert self.largest is None or max(x.shape[2:]) <= self.largest
        return self.conv(x)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sides_are_padded_and_cut(size):
    model, images = Pointwise(len(size), size_divisor=4), torch.randn(2, 2, *size)
    maps = segment(model, images)
    assert model.seen == [tuple(-(-side // 4) * 4 for side in size)]
    torch.testing.assert_close(maps, model.conv(images))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_windows_are_the_whole_where_a_pixel_stands_alone(size, overlap):
    model = Pointwise(len(size), size_divisor=2, largest=6).double()
    images = torch.randn(2, 2, *size, dtype=torch.float64)
    maps = segment(model, images, window=6, overlap=overlap)
    torch.testing.assert_close(maps, model.conv(images))


def test_an_image_within_the_window_goes_through_at_once():
    model = Pointwise(2)
    segment(model, torch.randn(2, 2, 6, 5), window=6)
    assert model.seen == [(6, 5)]


def test_reflection_is_torchs_where_torch_has_it():
    images = torch.randn(2, 3, 7, 5)
    expected = F.pad(images, (0, 3, 0, 1), mode="reflect")
    torch.testing.assert_close(pad_to_multiple(images, 8), expected)


def test_sides_shorter_than_what_is_added():
    row = torch.tensor([1.0, 2.0])[None, None]
    assert pad_to_multiple(row, 7)[0, 0].tolist() == [1, 2, 1, 2, 1, 2, 1]
    assert pad_to_multiple(row[..., :1], 4)[0, 0].tolist() == [1, 1, 1, 1]


def test_all_outputs_are_cut_and_the_first_one_is_the_prediction():
    class Deep(Pointwise):
        def forward(self, x):
            y = super().forward(x)
            return y, y + 1

    model, images = Deep(2, size_divisor=8), torch.randn(1, 2, 5, 9)
    first, second = run_padded(model, images, 8)
    torch.testing.assert_close(second, first + 1)
    torch.testing.assert_close(segment(model, images), model.conv(images))
