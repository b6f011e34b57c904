"""What a person sees who gives a layer what it does not take: what was given, and what to type."""

import functools
import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from conv_kan import (
    KAN,
    Bottleneck,
    EfficientKAN,
    EfficientKANLinear,
    FocalModulation,
    GroupRational,
    KAConv,
    KANConv,
    KANLinear,
    MixtureOfExperts,
    SelfAttention,
    WavKANConv,
    create_basis,
    expansion_limit,
    fold,
    refresh,
)

conv = functools.partial(KANConv, 4, 4, 3)


def mixture(**options):
    return MixtureOfExperts(4, **{"expert": nn.Identity, **options})


MISTAKES = [
    # an argument that there is not
    (lambda: conv(degree=3), ["'degree'", "basis=create_basis('gram', degree=3)"]),
    (lambda: conv(basis="rbf", degree=2), ["basis=create_basis('bernstein', degree=2)"]),
    (lambda: conv(basis="rbf", grid_size=2), ["basis=create_basis('rbf', grid_size=2)"]),
    (lambda: conv(basis=create_basis("rbf"), grid_size=2), ["create_basis('rbf', grid_size=2)"]),
    (lambda: conv(group=2), ["'group'", "did you mean 'groups'", "padding, dilation"]),
    (lambda: KANConv(in_channels=4, out_channels=4, kernel_size=3), ["did you mean 'c_in'"]),
    (lambda: KANLinear(4, 4, bias=True), ["did you mean 'base_bias'"]),
    (lambda: KAN([4, 4], degree=3), ["basis=create_basis('gram', degree=3)"]),
    (lambda: Bottleneck(4, 4, 3, degree=3), ["Bottleneck", "create_basis('gram', degree=3)"]),
    (lambda: WavKANConv(4, 4, 3, wavelet_type="dog"), ["did you mean 'wavelet'"]),
    (lambda: EfficientKAN([4, 4], gridsize=3), ["EfficientKANLinear", "'grid_size'"]),
    (lambda: GroupRational(groups=2), ["did you mean 'num_groups'"]),
    (lambda: mixture(experts=4), ["did you mean 'expert'"]),
    (lambda: SelfAttention(4, layer=KANLinear, heads=2), ["'heads'", "rope_theta"]),
    (lambda: FocalModulation(4, level=2), ["did you mean 'levels'"]),
    (lambda: create_basis("gram", degre=3), ["no option 'degre'", "did you mean 'degree'"]),
    (lambda: create_basis("gram", grid_size=3), ["It is an option of bspline, rbf"]),
    # a value of another kind
    (lambda: KANConv(4, 4, 3.0), ["kernel_size=3.0", "pass 3."]),
    (lambda: KANConv(np.int64(4), 4, 3), ["must be an integer", "pass 4."]),
    (lambda: KANConv(4, 4, None), ["kernel_size=None", "pass for example 1."]),
    (lambda: conv(groups=True), ["groups=True", "pass for example 1."]),
    (lambda: conv(ndim=2.0), ["ndim=2.0 must be 1, 2 or 3"]),
    (lambda: conv(dropout="0.1"), ["dropout='0.1' must be a number"]),
    (lambda: conv(norm=True), ["norm=True is no function"]),
    (lambda: conv(norm=nn.BatchNorm2d(4)), ["is no function", "nn.BatchNorm2d"]),
    (lambda: conv(norm=lambda channels: nn.BatchNorm2d(3)), ["BatchNorm2d(3", "4 channels"]),
    (lambda: KAN(4), ["sizes=4 must be a list", "[784, 64, 10]"]),
    (lambda: mixture(expert=nn.Identity()), ["expert=Identity() is no function", "lambda"]),
    (lambda: SelfAttention(4, layer=conv()), ["is no function", "layer=lambda c_in, c_out"]),
    (lambda: FocalModulation(4, layer=3), ["layer=3 is no function"]),
    (lambda: expansion_limit("64 MB").__enter__(), ["'64 MB' must be an integer", "67108864"]),
    # an input that is none
    (lambda: conv()([1.0]), ["KANConv got list", "torch.as_tensor(x)"]),
    (lambda: conv()(np.zeros((1, 4, 8, 8))), ["got numpy.ndarray"]),
    (lambda: conv()(torch.zeros(1, 4, 8, 8).to_sparse()), ["x.to_dense()"]),
    (lambda: mixture()([1.0]), ["MixtureOfExperts got list"]),
    (lambda: GroupRational()([1.0]), ["GroupRational got list"]),
    (lambda: EfficientKANLinear(4, 4).update_grid(torch.zeros(3, 5)), ["takes (..., 4)"]),
    (lambda: fold("weights.pt"), ["fold got 'weights.pt'", "torch.nn.Module"]),
    (lambda: fold(KANConv), ["the class KANConv"]),
    (lambda: refresh(None), ["refresh got None"]),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "words"), MISTAKES)
def test_mistakes_are_told(mistake, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        mistake()
    for word in words:
        assert word in str(caught.value)


LAYERS = {
    "KANConv": conv,
    "KANLinear": lambda: KANLinear(4, 4),
    "WavKANConv": lambda: WavKANConv(4, 4, 3),
    "Bottleneck": lambda: Bottleneck(4, 4, 3),
    "EfficientKANLinear": lambda: EfficientKANLinear(4, 4),
    "GroupRational": GroupRational,
    "KAConv": lambda: KAConv(4, 4, 3),
}
POINTS = [
    ([0.0, 1.0], "pass torch.tensor([0.0, 1.0])"),
    (np.linspace(0, 1, 3), "got numpy.ndarray but takes a tensor (N,)"),
    (torch.zeros(2, 3), "shape (2, 3) but takes points (N,); pass grid.flatten()"),
    (torch.tensor(1.0), "shape ()"),
    (torch.arange(3), "pass grid.to(torch.float32)"),
    (torch.zeros(3).double(), "got torch.float64"),
    (torch.zeros(3, device="meta"), "grid.to('cpu')"),
]


@pytest.mark.parametrize("name", LAYERS)
def test_points_of_edge_functions_are_told(name):
    layer = LAYERS[name]()
    for grid, words in POINTS:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            layer.edge_functions(grid)
        assert words in str(caught.value)


def test_a_norm_of_other_channels_is_not_read_beyond_its_end():
    """aten's own operations read whatever lies behind the weights."""
    layer = KANConv(4, 4, 3, backend="torch")
    layer.norm = nn.BatchNorm2d(3)
    for mode in (True, False):
        with pytest.raises(RuntimeError, match="contain 4 elements not 3"):
            layer.train(mode)(torch.randn(2, 4, 8, 8))
    assert (
        conv(norm=lambda channels: nn.LazyBatchNorm2d())(torch.randn(2, 4, 8, 8)).isfinite().all()
    )


def test_constructors_still_say_what_they_take():
    assert list(inspect.signature(KANConv).parameters)[:4] == [
        "c_in",
        "c_out",
        "kernel_size",
        "basis",
    ]
    layer = pickle.loads(pickle.dumps(KANConv(4, 4, kernel_size=3)))
    assert layer.geometry.kernel_size == (3, 3)
