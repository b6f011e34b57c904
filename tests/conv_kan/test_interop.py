"""Published weights in and out: every spelling, every published name."""

import copy
import pickle
import re

import pytest
import torch
from goldens import GOLDEN, assert_same, part, read
from published_samples import make
from torch import nn

from conv_kan import (
    Bottleneck,
    BottleneckLinear,
    KANConv,
    KANLinear,
    MixtureOfExperts,
    create_basis,
    published,
)
from conv_kan.interop import (
    export_published,
    load_published,
    published_names,
    published_norm,
)


@pytest.mark.parametrize("name", published.list_published())
@pytest.mark.filterwarnings("ignore")
def test_every_name_keeps_its_function_through_a_round_trip(name):
    torch.manual_seed(1)
    source, x = make(name)
    target, _ = make(name)
    with torch.no_grad():
        for p in source.parameters():
            p.add_(0.1 * torch.randn_like(p))
    state = export_published(source)
    assert load_published(target, state) == ([], [])
    assert_same(export_published(target), state)
    assert_same(target.state_dict(), source.state_dict())
    found, wanted = (layer.eval()(x) for layer in (target, source))
    torch.testing.assert_close(found, wanted)


KEYS = {
    "MoEKAGNConv2DLayer": {
        *("w_gate", "w_noise", "mean", "std"),
        *(f"experts.{e}.{n}" for e in range(3) for n in ("poly_weights", "beta_weights")),
        *(f"experts.{e}.base_conv.0.weight" for e in range(3)),
    },
    "MoEBottleNeckKAGNConv3DLayer": {
        *("w_gate", "w_noise", "experts.w_gate", "experts.w_noise", "experts.mean", "experts.std"),
        *(f"experts.experts.{e}.{n}" for e in range(3) for n in ("poly_weights", "beta_weights")),
        *("base_conv.0.weight", "inner_proj.0.weight", "out_proj.0.weight"),
    },
    "KAGNConv2DLayerV2": {"poly_weights", "beta_weights", "base_conv.0.weight"}
    | {"base_conv.1.weight"},
    "KAT_Group": {"weight_numerator", "weight_denominator"},
}


@pytest.mark.parametrize("name", KEYS)
def test_keys(name):
    assert set(export_published(make(name)[0])) == KEYS[name]


def test_keys_of_attention():
    attention = published.RoPEBottleNeckSelfKAGNtention2D(8, 4, padding=1)
    keys = {key for key in export_published(attention) if not key.startswith("proj_")}
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    wanted = {"gamma", "freqs", "freqs_t_x", "freqs_t_y", *(f"norm_layer.{n}" for n in norm)}
    wanted |= {f"{side}_proj.{n}" for side in ("inner", "outer") for n in ("weight", "bias")}
    assert keys == wanted


def network():
    return published.mlp_kagn([6, 5, 4])


@pytest.mark.parametrize(
    "spell",
    [
        lambda key: "module." + key,  # DistributedDataParallel
        lambda key: key.replace("layers.0.", "layers.0.module."),  # L1
        lambda key: key.replace("layers.1.", "layers.3.").replace("layers.0.", "layers.1."),
        lambda key: "module." + key.replace("layers.1.", "layers.2.module."),
        lambda key: "_orig_mod." + key,  # torch.compile
        lambda key: "module._orig_mod." + key.replace("layers.0.", "layers.0._orig_mod."),
    ],
    ids=["parallel", "decay", "dropout", "all", "compiled", "compiled in parts"],
)
def test_spellings_of_networks(spell):
    source, target = network(), network()
    state = export_published(source)
    load_published(target, {spell(key): value for key, value in state.items()})
    assert_same(target.state_dict(), source.state_dict())


def test_networks_with_dropout_count_it():
    keys = export_published(published.mlp_kagn([6, 5, 4], dropout=0.1))
    assert {key.split(".")[1] for key in keys} == {"1", "3"}
    keys = export_published(published.mlp_kagn([6, 5, 4], dropout=0.1, first_dropout=False))
    assert {key.split(".")[1] for key in keys} == {"0", "2"}


@pytest.mark.parametrize("indices", [(0, 1), (1, 3), (0, 2), (1, 2)])
def test_a_network_is_written_as_it_was_read(indices):
    """Also where the dropout that shifted the indices stands outside of the network here."""
    first, second = indices
    state = {
        re.sub(r"^layers\.(.)", lambda m: f"layers.{(first, second)[int(m[1])]}", key): value
        for key, value in export_published(network()).items()
    }
    target = network()
    load_published(target, state)
    for loaded in (target, copy.deepcopy(target), pickle.loads(pickle.dumps(target))):
        assert_same(export_published(loaded), state)
    load_published(target, export_published(network()))
    assert "layers.0.beta_weights" in export_published(target)


def test_compiled_modules_are_seen_through():
    source, target = network(), torch.compile(network())
    load_published(target, export_published(source))
    assert_same(export_published(target), export_published(source))


def test_our_wrapper_is_seen_through():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    source = network()
    target = Wrapper(network())
    load_published(target, export_published(source))
    assert_same(target.module.state_dict(), source.state_dict())
    assert_same(export_published(target), export_published(source))


def test_versions_of_wavelets():
    layer = published.WavKANConv2DLayer(4, 6, 3, groups=2)
    fast = export_published(layer)
    key = "wavelet_conv.{}.wavelet_weights.weight"
    rest = {k: v for k, v in fast.items() if "wavelet_weights" not in k}
    plus_one = rest | {key.format(g): fast[key.format(g)].unsqueeze(1) for g in range(2)}
    base = rest | {
        f"wavelet_conv.{g}.wavelet_weights.{o}.weight": fast[key.format(g)][o : o + 1]
        for g in range(2)
        for o in range(3)
    }
    for state in (plus_one, base, fast):
        other = published.WavKANConv2DLayer(4, 6, 3, groups=2)
        load_published(other, state)
        assert_same(other.state_dict(), layer.state_dict())
        assert_same(export_published(other), state)
    made = export_published(published.WavKANConv2DLayer(4, 6, 3, wav_version="base"))
    assert made["wavelet_conv.0.wavelet_weights.5.weight"].shape == (1, 4, 3, 3)


def test_versions_of_gram_layers():
    first = published.KAGNConv2DLayer(4, 6, 3)
    second = published.KAGNConv2DLayerV2(4, 6, 3)
    state = export_published(second)
    assert set(state) == {"beta_weights", "base_conv.weight", "poly_conv.weight"}
    load_published(first, state)
    assert_same(first.state_dict(), second.state_dict())
    assert_same(export_published(first), state)
    legacy = published.KAGNConv2DLayerV2(4, 8, 3, groups=4, legacy=True)
    state = export_published(legacy)
    assert state["poly_conv.weight"].shape == (8, 4, 3, 3)
    with pytest.raises(ValueError, match="legacy=True"):
        load_published(published.KAGNConv2DLayerV2(4, 8, 3, groups=4), state)


def test_a_scaled_basis_gets_the_same_function():
    published_layer, x = published.KAJNConv2DLayer(4, 6, 3), torch.randn(2, 4, 5, 5)
    basis = create_basis("jacobi", scale="unit")
    ours = KANConv(4, 6, 3, basis=basis, base="identity", norm="instance", affine=False)
    load_published(ours, export_published(published_layer))
    torch.testing.assert_close(ours(x), published_layer(x))
    again = export_published(ours)
    for key, value in export_published(published_layer).items():
        torch.testing.assert_close(again[key], value)


def test_missing_and_unexpected_keys():
    layer = published.KAGNConv2DLayer(4, 6, 3, groups=2)
    before = {name: p.clone() for name, p in layer.named_parameters()}
    state = export_published(published.KAGNConv2DLayer(4, 6, 3, groups=2))
    state["spline_conv.0.weight"] = state.pop("base_conv.1.weight")
    with pytest.raises(ValueError, match=r"missing: base_conv.1.weight .here base_weight.; unexp"):
        load_published(layer, state)
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())
    result = load_published(layer, state, strict=False)
    assert result.missing == [("base_conv.1.weight", "base_weight")]
    assert result.unexpected == ["spline_conv.0.weight"]
    assert torch.equal(layer.base_weight, before["base_weight"])
    assert torch.equal(layer.basis.beta, state["beta_weights"])


def test_wrong_shapes_and_grids():
    layer = published.KAGNConv2DLayer(4, 6, 3)
    state = export_published(published.KAGNConv2DLayer(4, 6, 3, degree=4))
    both = "poly_weights has shape (1, 6, 20, 3, 3) but must have (1, 6, 16, 3, 3) for basis_weight"
    with pytest.raises(ValueError, match=re.escape(both + " of shape (6, 4, 4, 3, 3)")):
        load_published(layer, state, strict=False)
    tensors = part(read(GOLDEN / "mlp" / "torchkan.KAN.safetensors")[0], "state.")
    with pytest.raises(ValueError, match="grid_0 differs"):
        load_published(published.KAN([12, 8, 5], grid_range=(-2, 2)), tensors)
    fast = published.FastKANConv2DLayer(4, 6, 3)
    state = export_published(fast) | {"rbf.grid": torch.zeros(5)}
    with pytest.raises(ValueError, match=r"rbf\.grid has shape \(5,\) but must have \(8,\)"):
        load_published(fast, state)
    with pytest.raises(ValueError, match="two keys"):
        load_published(layer, {"a": torch.zeros(1), "module.a": torch.zeros(1)})
    with pytest.raises(TypeError, match=r"checkpoint\['state_dict'\]"):
        load_published(layer, {"epoch": 3, "state_dict": {}})
    with pytest.raises(KeyError, match="no tensor"):
        published_names(layer, {"weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "layer",
    [
        lambda: KANConv(4, 6, 3, basis="fourier"),
        lambda: KANConv(4, 6, 3, basis="chebyshev"),
        lambda: Bottleneck(4, 6, 3, basis="fourier"),
        lambda: BottleneckLinear(4, 6, basis="fourier"),
        lambda: KANLinear(4, 6, basis="chebyshev"),
        lambda: MixtureOfExperts(4, expert=lambda: KANConv(4, 4, 3, basis="rational")),
    ],
)
def test_layers_without_a_published_twin_lose_nothing(layer):
    source, target = layer(), layer()
    load_published(target, export_published(source))
    for key, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], value)


def test_counters_may_be_missing():
    layer = published.WavKANConv2DLayer(4, 6, 3)
    state = {k: v for k, v in export_published(layer).items() if not k.endswith("tracked")}
    assert load_published(layer, state) == ([], [])


@pytest.mark.parametrize(
    "name", ["KALNConv2DLayer", "KABNConv1DLayer", "KAL_Net", "RoPEBottleNeckSelfKAGNtention2D"]
)
def test_defects_that_weights_depend_on_are_named(name):
    with pytest.warns(UserWarning, match="function"):
        layer, _ = make(name)
        load_published(layer, export_published(layer))


def test_models_of_layers():
    """A model with other paths and with layers that are not ours."""
    torch.manual_seed(0)

    def model(first, last):
        layers = [published.KAGNConv2DLayer(3, 4, 3), published.KAGNConv2DLayer(4, 4, 3)]
        ours = {first: nn.Sequential(*layers, nn.BatchNorm2d(4)), last: nn.Linear(4, 2)}
        return nn.ModuleDict(ours)

    source, target = model("layers", "output"), model("features", "head")
    state = export_published(source)
    assert {"layers.0.poly_weights", "layers.2.running_mean", "output.weight"} <= set(state)
    names = {"features": "layers", "head": "output"}
    wrapped = {  # by an L1 penalty and by DistributedDataParallel
        "module." + re.sub(r"^layers\.(\d+)\.", r"layers.\1.module.", key): value
        for key, value in state.items()
    }
    assert "module.layers.0.module.poly_weights" in wrapped
    load_published(target, wrapped, names=names)
    assert_same(export_published(target, names=names), state)
    with pytest.raises(ValueError, match=r"missing: features.0.base_conv.0.weight .here feat"):
        load_published(target, state)
    inner = {"features.0": "first", "features.1": "layers.1", "features.2": "layers.2"}
    moved = {key.replace("layers.0", "first"): value for key, value in state.items()}
    load_published(target, moved, names={"head": "output", **inner})
    assert_same(export_published(target, names=names), state)


@pytest.mark.parametrize(
    ("norm_layer", "options", "wanted"),
    [
        (nn.BatchNorm2d, {}, ("batch", True)),
        (nn.BatchNorm2d, {"affine": False}, ("batch", False)),
        (nn.InstanceNorm2d, {"affine": True}, ("instance", True)),
        (nn.InstanceNorm2d, {}, ("instance", False)),
    ],
)
def test_the_norm_is_read_off_the_keys(norm_layer, options, wanted):
    def model(norm_layer, **options):
        conv = published.BottleNeckKAGNConv2DLayer(4, 4, 3, norm_layer=norm_layer, **options)
        return nn.Sequential(conv, nn.Flatten(), published.mlp_kagn([4, 2]))

    state = export_published(model(norm_layer, **options))
    state = {"module." + key: value for key, value in state.items()}
    assert published_norm(state) == {"norm": wanted[0], "affine": wanted[1]}
    other = nn.InstanceNorm2d if norm_layer is nn.BatchNorm2d else nn.BatchNorm2d
    with pytest.raises(ValueError, match=f"had norm='{wanted[0]}', affine={wanted[1]}"):
        load_published(model(other, affine=not wanted[1]), state)
