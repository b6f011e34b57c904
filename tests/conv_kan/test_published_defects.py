"""Defects of the published layers, each with a test that fails where it exists.

Others are tested beside the parts they concern: gate thresholds (test_mixture), rotary grids
(test_attention), grids that are moved and entropies of zeros (test_efficient), initial rationals,
signs and strides (test_bases_rational), arguments that are lost (test_published).
"""

import copy
import gc
import inspect
import weakref
from pathlib import Path

import pytest
import torch
from published_samples import make
from torch import nn

from conv_kan import published
from conv_kan.interop import export_published
from conv_kan.layers.regularization import ActivationRecorder, l1_weight_norm
from conv_kan.published.arguments import say_once

DIMENSIONS = (1, 2, 3)
FAMILIES = ("KAN", "FastKAN", "KALN", "KACN", "KAGN", "KAJN", "KABN", "ReLUKAN", "BottleNeckKAGN")
BATCH_FREE = ["KALNConv1DLayer", "KALNConv2DLayer", "KALNConv3DLayer", "MoEKALNConv2DLayer"]
BATCH_FREE += ["KALNLayer", "KALN", "KAL_Net", "KAC_Net", "Legendvolver"]
SATURATED = ["KACNConv1DLayer", "KACNConv2DLayer", "KACNConv3DLayer", "ChebyKANLayer", "KAC_Net"]
PHASED = ["ReLUKANConv1DLayer", "ReLUKANConv2DLayer", "ReLUKANConv3DLayer", "ReLUKANLayer"]
PHASED += ["BottleNeckReLUKANConv2DLayer", "SelfReLUKANtention2D", "ReLUKAN"]

pytestmark = pytest.mark.filterwarnings("ignore:an instance norm", "ignore:l1_decay")


def first(y):
    """The output of a layer that may return a penalty too."""
    return y if isinstance(y, torch.Tensor) else y[0]


@pytest.mark.parametrize("name", [f"{f}Conv2DLayer" for f in FAMILIES] + ["GRAMLayer", "KALNLayer"])
def test_a_layer_keeps_no_inputs_and_dies_when_deleted(name):
    gc.freeze()  # what is there already need not be searched
    try:
        layer, x = make(name)
        ghosts = [weakref.ref(x), weakref.ref(layer)]
        first(layer(x.requires_grad_())).sum().backward()
        del x
        gc.collect()
        assert ghosts[0]() is None
        del layer
        gc.collect()
        assert ghosts[1]() is None
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("name", BATCH_FREE)
def test_a_prediction_does_not_depend_on_its_batch(name):
    layer, x = make(name)
    layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(first(layer(x[:1])), first(layer(x))[:1])
        assert first(layer(torch.full_like(x, 0.5))).isfinite().all()


@pytest.mark.parametrize("name", SATURATED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_saturated_inputs_have_finite_gradients(name, dtype):
    layer, x = make(name)
    x = (30.0 * x).to(dtype).requires_grad_()
    first(layer.to(dtype)(x)).float().square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_depthwise_gram_outputs_read_their_own_channel(ndim):
    make_layer = published.get_published(f"KAGNConv{ndim}DLayerV2")
    layer = make_layer(6, 6, 1, groups=6, norm_layer=None)
    with torch.no_grad():
        layer.base_weight.zero_()

    def call(channels):
        return layer(channels.view(1, 6, *[1] * ndim)).flatten()

    jacobian = torch.autograd.functional.jacobian(call, torch.randn(6))
    assert jacobian.diagonal().all() and not (jacobian - jacobian.diagonal().diag()).any()


@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_bernstein_layers_stack_and_see_their_input(ndim):
    make_layer = published.get_published(f"KABNConv{ndim}DLayer")
    network = nn.Sequential(*(make_layer(4, 4, 3, padding=1) for _ in range(2)))
    x = torch.randn(2, 4, *(5, 4, 3)[:ndim], requires_grad=True)
    network(x).square().sum().backward()
    assert x.grad.abs().sum() > 0 and network[0].basis_weight.grad.abs().sum() > 0
    bare = make_layer(4, 4, 3, norm_layer=None)
    nn.init.zeros_(bare.base_weight)
    assert not torch.allclose(bare(x), bare(x + 1.0))
    linear = published.BernsteinKANLayer(4, 3, 3)
    nn.init.zeros_(linear.base_weight)
    values = torch.randn(5, 4, requires_grad=True)
    linear(values).square().sum().backward()
    assert values.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PHASED)
def test_phases_are_trained_and_loaded(name):
    layer, x = make(name)
    phases = [p for key, p in layer.named_parameters() if key.endswith((".low", ".high"))]
    assert phases and all(p.is_contiguous() for p in phases)
    before = [p.detach().clone() for p in phases]
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    first(layer(x)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(phases, before, strict=True))
    layer.load_state_dict(copy.deepcopy(layer.state_dict()))


@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_noise_of_a_single_value_is_none(ndim):
    make_layer = published.get_published(f"BottleNeckKAGNConv{ndim}DLayer")
    layer = make_layer(8, 8, 1, dropout=0.5, norm_layer=None)
    assert layer(torch.randn(1, 8, *[1] * ndim)).isfinite().all()


@pytest.mark.parametrize("ndim", DIMENSIONS)
@pytest.mark.parametrize("mixed", [True, False])
def test_rotary_attention_takes_any_grid(ndim, mixed):
    make_layer = published.get_published(f"RoPEBottleNeckSelfKAGNtention{ndim}D")
    layer = make_layer(12, padding=1, rope_mixed=mixed)
    x = torch.randn(2, 12, *(5, 4, 3)[:ndim])
    assert layer(x).shape == x.shape
    with pytest.raises(ValueError, match="padding=kernel_size // 2"):
        make_layer(12)(x)


@pytest.mark.parametrize("name", ["KAGNFocalModulation2D", "MoEKAGNConv2DLayer"])
def test_a_copy_after_a_training_step(name):
    layer, x = make(name)
    first(layer(x)).sum().backward()
    torch.testing.assert_close(
        first(copy.deepcopy(layer).eval()(x)), first(layer.eval()(x)), rtol=0, atol=0
    )


def test_mixtures_keep_the_dtype_of_autocast():
    layer, x = make("MoEKAGNConv2DLayer")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x)[0].dtype == torch.bfloat16


DECAYED = [
    name
    for name in published.list_published()
    if "l1_decay" in inspect.signature(published.get_published(name)).parameters
]


@pytest.mark.parametrize("name", DECAYED)
@pytest.mark.parametrize("needs", [False, True], ids=["data", "features"])
def test_weight_decay_of_layers_acts_nowhere(name, needs):
    """Published, it is added to the gradient of a layer whose input needs none: the first one."""
    torch.manual_seed(0)
    (plain, x), (decayed, _) = make(name), make(name, l1_decay=0.1)
    assert export_published(plain).keys() == export_published(decayed).keys()
    decayed.load_state_dict(plain.state_dict())
    for network in (plain, decayed):
        network(x.clone().requires_grad_(needs)).square().sum().backward()
    for one, other in zip(plain.parameters(), decayed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)


def test_the_working_decay_is_named_once():
    assert len(DECAYED) == 20
    say_once.cache_clear()
    with pytest.warns(UserWarning, match=r"penalty\.l1_decay=0\.1 .*l1_weight_norm") as caught:
        networks = [published.mlp_kagn([6, 5, 4], l1_decay=0.1) for _ in range(3)]
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    network = networks[0]
    network(torch.randn(3, 6)).sum().backward()
    before = [layer.basis_weight.grad.clone() for layer in network.layers]
    (0.1 * l1_weight_norm(network)).backward()
    for layer, grad in zip(network.layers, before, strict=True):
        wanted = grad + 0.1 * layer.basis_weight.sign()
        torch.testing.assert_close(layer.basis_weight.grad, wanted)


NOT_KAN = {"KAT_Group", "KAT_Group2D", "KAT_Group_Torch", "Polyvolver", "RadialBasisFunction"}


@pytest.mark.parametrize("name", [n for n in published.list_published() if n not in NOT_KAN])
def test_penalties_of_activations_see_every_layer(name):
    layer, x = make(name)
    with ActivationRecorder(layer) as recorder:
        layer(x)
        l1, l2 = recorder.pop()
        (l1 + l2).backward()
    assert l1 > 0 and l2 > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
