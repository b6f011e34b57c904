"""Published names: signatures, behaviour of their arguments, initial weights."""

import inspect
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from published_samples import make, make_wrong, sample
from torch import nn

from conv_kan import published
from conv_kan.interop import export_published, load_published
from conv_kan.layers.shuffled import ShuffledKANConv
from conv_kan.published import KAGNConv2DLayer, mlp_kagn
from conv_kan.published.arguments import say_once
from experiments.benchmarks.memory import kept_bytes


@pytest.mark.parametrize("name", published.list_published())
@pytest.mark.filterwarnings("ignore:an instance norm")
def test_every_name_makes_a_layer_that_trains(name):
    layer, x = make(name)
    y = layer(x.requires_grad_())
    loss = y.square().mean() if isinstance(y, torch.Tensor) else y[0].square().mean() + y[1]
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()
    assert all(p.grad is not None for p in layer.parameters() if p.requires_grad)
    assert pickle.loads(pickle.dumps(published.get_published(name))) is getattr(published, name)


def test_unknown_names_and_keywords():
    with pytest.raises(TypeError, match=r"no argument 'degre'; did you mean 'degree'\?"):
        KAGNConv2DLayer(4, 8, 3, degre=4)
    with pytest.raises(TypeError, match="did you mean 'momentum'"):
        KAGNConv2DLayer(4, 8, 3, momentun=0.2)
    with pytest.raises(TypeError, match="missing a required argument: 'kernel_size'"):
        KAGNConv2DLayer(4, 8)
    with pytest.raises(AttributeError, match="did you mean 'KAGNConv2DLayer'"):
        published.KAGNConv2Dlayer  # noqa: B018
    with pytest.raises(ValueError, match="did you mean 'mlp_kagn'"):
        published.get_published("mlp_kagm")
    assert {"mlp_kagn", "KAT_Group2D"} <= set(dir(published))
    everything: dict[str, object] = {}
    exec("from conv_kan.published import *", everything)
    assert set(published.list_published()) <= set(everything)
    assert everything["KAGNConv2DLayer"] is KAGNConv2DLayer


def parameters(name):
    return inspect.signature(published.get_published(name)).parameters


IGNORING = [name for name in published.list_published() if "ignored" in parameters(name)]

WRONG = {
    "base_activation": "x",
    "degree": 0,
    "dilation": 0,
    "dim_reduction": 0,
    "dropout": 1.0,
    "focal_level": 0,
    "g": 0,
    "grid_range": (1, -1),
    "grid_size": 0,
    "groups": 5,
    "in_features": 0,
    "inner_projection": 0,
    "input_dim": 0,
    "input_size": 0,
    "k": -1,
    "kernel_size": 0,
    "layers_hidden": [],
    "min_internal": 0,
    "mode": "x",
    "norm_layer": "batch",
    "num_experts": 0,
    "num_grids": 0,
    "num_groups": 0,
    "output_dim": 0,
    "padding": -1,
    "polynomial_degree": 0,
    "polynomial_order": 0,
    "rope_theta": 0,
    "spline_order": -1,
    "stride": 0,
    "wav_version": "x",
    "wavelet_type": "x",
}


@pytest.mark.parametrize("name", published.list_published())
def test_wrong_arguments_are_refused_in_words(name):
    for argument in parameters(name).keys() & WRONG.keys():
        with pytest.raises((ValueError, TypeError), match=r"must |unknown|divisible|needs"):
            make_wrong(name, argument, WRONG[argument])


def test_norms_and_activations():
    layer = KAGNConv2DLayer(4, 8, 3, norm_layer=nn.BatchNorm2d, momentum=0.3, affine=False)
    assert isinstance(layer.norm, nn.BatchNorm2d)
    assert layer.norm.momentum == 0.3 and not layer.norm.affine
    default = KAGNConv2DLayer(4, 8, 3).norm
    assert isinstance(default, nn.InstanceNorm2d) and not default.affine
    assert KAGNConv2DLayer(4, 8, 3, norm_layer=None).norm is None
    with pytest.raises(ValueError, match="may act across channels"):
        KAGNConv2DLayer(4, 8, 3, groups=2, norm_layer=nn.LayerNorm)
    gelu = mlp_kagn([4, 3]).layers[0]
    assert (gelu.base, gelu.basis.outer, gelu.activation.name) == ("gelu",) * 3
    mish = mlp_kagn([4, 3], base_activation=nn.Mish).layers[0]
    functions = (mish.base, mish.basis.outer, mish.activation.form)
    assert all(isinstance(function, nn.Mish) for function in functions)
    assert published.KANLayer(4, 3, base_activation=nn.ReLU(inplace=True)).base == "relu"
    for own in (nn.GELU(approximate="tanh"), lambda: nn.LeakyReLU(0.2), torch.sin):
        assert published.KANLayer(4, 3, base_activation=own).base_name is None
    with pytest.raises(ValueError, match=r"base_activation=Mish.* must be one of silu, gelu"):
        published.KANLinear(4, 3, base_activation=nn.Mish)


ACTIVATED = [
    name
    for name in published.list_published()
    if {"base_activation", "act"} & parameters(name).keys()
]


@pytest.mark.parametrize("name", [n for n in ACTIVATED if n not in ("KANLinear", "EfficientKAN")])
@pytest.mark.filterwarnings("ignore:an instance norm")
def test_any_function_is_a_base_activation(name):
    """That of a module without a kernel equals what kernels compute, where there is one."""
    argument = "act" if "act" in parameters(name) else "base_activation"
    found = []
    for value in (nn.SiLU, lambda: lambda z: F.silu(z)):
        torch.manual_seed(0)
        layer, x = make(name, **{argument: value})
        x = x.double().requires_grad_()
        y = layer.double()(x)
        y = y if isinstance(y, torch.Tensor) else y[0]
        found.append((y, torch.autograd.grad(y.square().sum(), x)[0], set(export_published(layer))))
    (y, grad, keys), (other, other_grad, other_keys) = found
    torch.testing.assert_close((other, other_grad), (y, grad))
    assert keys == other_keys


COUNTS = {
    "mlp_kan": 457_494,
    "mlp_fastkan": 306_676,
    "mlp_kacn": 203_264,
    "mlp_kagn": 254_236,
    "mlp_kaln": 254_228,
    "mlp_kajn": 254_228,
    "mlp_kabn": 254_228,
    "mlp_wav_kan": 203_412,
    "mlp_relukan": 105_098,
    "mlp_bottleneck_kagn": 173_814,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_networks(name):
    network = published.get_published(name)([784, 64, 10])
    frozen = sum(v.numel() for k, v in export_published(network).items() if k.endswith("rbf.grid"))
    assert sum(p.numel() for p in network.parameters()) + frozen == COUNTS[name]


def test_dropout_of_networks():
    rates = [layer.dropout for layer in mlp_kagn([6, 5, 4], 0.2).layers]
    assert rates == [0.2, 0.2]
    rates = [layer.dropout for layer in mlp_kagn([6, 5, 4], 0.2, first_dropout=False).layers]
    assert rates == [0.0, 0.2]
    assert mlp_kagn([6, 4], 0.2, first_dropout=False).layers[0].dropout == 0.0


@pytest.mark.parametrize("name", IGNORING)
def test_classes_of_networks_take_what_others_of_them_take(name):
    """Published networks of networks rely on it."""
    say_once.cache_clear()
    torch.manual_seed(0)
    plain, x = make(name)
    torch.manual_seed(0)
    with pytest.warns(UserWarning) as caught:
        given, _ = make(name, groups=2, degreee=5, norm_layer=nn.BatchNorm2d)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 3 and f"{name} takes 'groups' and does nothing with it" in said[0]
    assert said[1].endswith("did you mean 'degree'?") == ("degree" in parameters(name))
    torch.testing.assert_close(given.eval()(x), plain.eval()(x), rtol=0, atol=0)


def test_only_classes_of_networks_take_more():
    wanted = {"KAN", "FastKAN", "KALN", "KACN", "KAGN", "BottleNeckKAGN", "KABN", "KAJN", "WavKAN"}
    assert set(IGNORING) == wanted | {"ReLUKAN"}


def test_relu_network_uses_its_arguments():
    basis = published.mlp_relukan([6, 4], a=3, b=2).layers[0].basis
    assert (basis.g, basis.k) == (3, 2)


def test_initial_weights():
    torch.manual_seed(0)
    with torch.inference_mode():
        check_initial_weights()


def check_initial_weights():
    layer = KAGNConv2DLayer(16, 32, 3)
    bound = math.sqrt(3 / (32 * 16 * 4 * 9))  # the outputs taken for inputs
    assert layer.basis_weight.abs().max() == pytest.approx(bound, rel=0.01)
    second = published.KAGNConv2DLayerV2(16, 32, 3)
    assert second.basis_weight.abs().max() == pytest.approx(math.sqrt(3 / (16 * 4 * 9)), rel=0.01)
    small = published.BottleNeckKAGNConv2DLayer(64, 64, 3, degree=200)
    assert small.inner.basis.beta.std() == pytest.approx(1 / (9 * 64 * 201), rel=0.2)
    wavelets = published.WavKANConv2DLayer(16, 32, 3)
    assert wavelets.base_weight.abs().max() == pytest.approx(1 / 12, rel=0.02)
    fast = published.FastKANLayer(64, 64, spline_weight_init_scale=0.5)
    assert fast.basis_weight.std() == pytest.approx(0.5, rel=0.05)
    mixture = make("MoEKAGNConv2DLayer")[0].layer
    assert not mixture.gate_weight.any()
    for one, other in mixture.experts[0].state_dict().items():
        assert torch.equal(other, mixture.experts[1].state_dict()[one])


def test_mixtures_return_their_penalty():
    layer, x = make("MoEBottleNeckKAGNConv2DLayer", pregate=True)
    y, loss = layer(x, train=True, loss_coef=1.0)
    assert y.shape == x.shape and loss > 0
    assert layer.eval()(x)[1] == 0


def test_wavelet_versions():
    with pytest.raises(ValueError, match="must be one of base, fast"):
        published.WavKANConv3DLayer(4, 4, 3, wav_version="fast_plus_one")


def shuffled(layer, x):
    """The published grouped layer, written out for one group after the other."""
    phi = layer.basis(x)
    functions, groups = layer.basis.num_functions, layer.geometry.groups
    maps = torch.cat([phi[:, j::functions] for j in range(functions)], dim=1)
    weight = layer.basis_weight.flatten(1, 2)
    parts = zip(maps.chunk(groups, 1), weight.chunk(groups), strict=True)
    y = torch.cat([F.conv2d(m, w, padding=1) for m, w in parts], dim=1)
    base = F.conv2d(F.silu(x), layer.base_weight, padding=1, groups=groups)
    return F.silu(layer.norm(y + base))


def test_legacy_order_of_groups():
    _, _, x = sample("KAGNConv2DLayerV2")
    layer = published.KAGNConv2DLayerV2(8, 8, 3, groups=8, padding=1, legacy=True)
    assert isinstance(layer, ShuffledKANConv)
    torch.testing.assert_close(layer(x), shuffled(layer, x))
    found = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    wanted = torch.autograd.grad(shuffled(layer, x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(found, wanted)
    wide = published.KAGNConv2DLayerV2(64, 64, 3, groups=2, padding=1, legacy=True, affine=True)
    x64 = torch.randn(1, 64, 16, 16, requires_grad=True)
    assert kept_bytes(lambda: wide(x64), wide.parameters()) <= 2.5 * x64.nbytes
    # Depthwise with degree 3: the first two outputs see P_0 only, the third one channels 0 to 3.
    bare = published.KAGNConv2DLayerV2(8, 8, 1, groups=8, legacy=True, norm_layer=None)
    with torch.no_grad():
        bare.base_weight.zero_()
    jacobian = torch.autograd.functional.jacobian(bare, x[:1, :, :1, :1])[0, :, 0, 0, 0, :, 0, 0]
    assert not jacobian[:2].any()
    assert jacobian[2, :4].all() and not jacobian[2, 4:].any()
    with pytest.raises(ValueError, match="legacy=False"):
        layer.edge_functions(torch.zeros(3))
    with pytest.raises(ValueError, match="same padding on both sides"):
        published.KAGNConv2DLayerV2(8, 8, 2, groups=2, padding="same", legacy=True)
    with pytest.raises(ValueError, match="dropout_position='functions'"):
        ShuffledKANConv(8, 8, 3, groups=2, dropout_position="functions")
    assert type(published.KAGNConv2DLayerV2(8, 8, 3, legacy=True)) is not ShuffledKANConv


def test_legacy_legendre_and_rational():
    assert published.KALNConv2DLayer(4, 4, 3, legacy=True).basis.over_batch
    assert not published.KALNConv2DLayer(4, 4, 3).basis.over_batch
    assert published.MoEKALNConv2DLayer(4, 4, legacy=True).layer.experts[0].basis.over_batch
    assert published.KAT_Group(mode="gelu", legacy=True).init == "published_gelu"
    assert published.KAT_Group2D(mode="erfc_Softplus_2").init == "erfc_softplus_2"
    focal = published.KAGNFocalModulation2D(8, legacy=True)
    assert all(isinstance(layer, ShuffledKANConv) for layer in focal.focal_layers)
    rope = published.RoPEBottleNeckSelfKAGNtention2D(8, padding=1, legacy=True).rope
    assert rope.legacy and rope.mode == "mixed"


def test_attention_without_a_norm_layer_has_published_ones():
    for ndim, norm in ((1, nn.BatchNorm1d), (2, nn.LayerNorm), (3, nn.BatchNorm3d)):
        attention = published.get_published(f"SelfKAGNtention{ndim}D")(8, norm_layer=None)
        assert isinstance(attention.norm, norm) and isinstance(attention.proj_q.norm, norm)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(
    "form", ["BottleNeckSelfKAGN", "BottleNeckSelfReLUKAN", "RoPEBottleNeckSelfKAGN"]
)
def test_attention_hands_the_bottleneck_to_its_projections(form, ndim):
    make_layer = published.get_published(f"{form}tention{ndim}D")
    layer = make_layer(24, padding=1, dim_reduction=2, min_internal=5)
    assert [p.inner.c_in for p in (layer.proj_q, layer.proj_k, layer.proj_v)] == [12] * 3
    assert make_layer(24, padding=1, dim_reduction=8, min_internal=5).proj_q.inner.c_in == 5
    with pytest.raises(TypeError, match="has no argument 'dim_reduction'"):
        published.get_published(f"SelfKAGNtention{ndim}D")(16, padding=1, dim_reduction=2)


def test_attention_norms_take_what_the_published_ones_take():
    """The norm at the end always learns, unless told; the projections' norms are as given."""
    keys = set(export_published(published.SelfKAGNtention2D(8, norm_layer=nn.InstanceNorm2d)))
    assert {"norm_layer.weight", "norm_layer.bias"} <= keys
    assert not any("layer_norm" in key for key in keys)
    for affine in (True, False):
        layer = published.SelfKAGNtention2D(8, norm_layer=nn.InstanceNorm2d, affine=affine)
        assert layer.norm.affine == layer.proj_q.norm.affine == affine
    layer = published.BottleNeckSelfKAGNtention2D(8, eps=0.5, momentum=0.3)
    assert (layer.norm.eps, layer.norm.momentum) == (1e-5, 0.1)
    assert (layer.proj_v.norm.eps, layer.proj_v.norm.momentum) == (0.5, 0.3)


def test_radial_functions():
    x = torch.randn(2, 3)
    for arguments, width in (((-1.0, 2.0, 7), 0.5), ((-1.0, 2.0, 7, 0.25), 0.25)):
        centres = torch.linspace(-1, 2, 7)
        wanted = torch.exp(-(((x.unsqueeze(-1) - centres) / width) ** 2))
        functions = published.RadialBasisFunction(*arguments)
        torch.testing.assert_close(functions(x), wanted)
        state = export_published(functions)
        assert set(state) == {"grid"} and torch.equal(state["grid"], centres)
        load_published(functions, {"grid": centres + 1.0})
        torch.testing.assert_close(functions(x + 1.0), wanted)
    assert functions(x.half()).dtype == torch.float16


def test_the_rational_of_plain_torch_says_what_it_does_not_do():
    layer = published.KAT_Group_Torch(mode="swish")
    with pytest.warns(UserWarning, match=r"takes x for \|x\| in its denominator"):
        load_published(layer, export_published(published.KAT_Group(mode="swish")))
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(layer(x), published.KAT_Group(mode="swish")(x))
