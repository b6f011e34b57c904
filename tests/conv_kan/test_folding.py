"""Folding for inference: the same outputs, from weights that hold the norm and are kept."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from conv_kan import (
    Bottleneck,
    BottleneckLinear,
    KANConv,
    KANLinear,
    WavKANConv,
    fold,
    refresh,
)
from conv_kan.ops import cpp, plain
from models import create_model

C = 6
LAYERS = {
    "conv": (partial(KANConv, C, 8, 3, padding=1), 2),
    "groups": (partial(KANConv, C, 8, 3, groups=2, stride=2, padding=2, activation="prelu"), 2),
    "constants": (partial(KANConv, C, 8, 2, padding="same", basis="rational"), 2),
    "no base": (partial(KANConv, C, 8, 3, base=None, basis="chebyshev", affine=False), 2),
    "1d": (partial(KANConv, C, 8, 3, ndim=1, padding=1, basis="bspline"), 1),
    "3d": (partial(KANConv, C, 8, 3, ndim=3, padding=1), 3),
    "norm of the input": (partial(KANConv, C, 8, 3, norm_position="input"), 2),
    "group norm": (partial(KANConv, C, 8, 3, padding=1, norm="group"), 2),
    "no norm": (partial(KANConv, C, 8, 3, padding=1, norm=None), 2),
    "linear": (partial(KANLinear, C, 8, norm="batch"), 0),
    "linear with a bias": (partial(KANLinear, C, 8, norm="batch", base_bias=True), 0),
    "bottleneck": (partial(Bottleneck, C, 8, 3, padding=1, groups=2), 2),
    "linear bottleneck": (partial(BottleneckLinear, C, 8, norm="batch"), 0),
    "wavelets": (partial(WavKANConv, C, 8, 3, padding=1), 2),
}


def image(ndim, batch=3):
    return torch.randn(batch, C, *(7, 9, 4)[:ndim], dtype=torch.float64)


def trained(make, ndim):
    """A layer whose norms have statistics and whose parameters are not where they began."""
    torch.manual_seed(0)
    layer = make().double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    for _ in range(3):
        layer(2.0 * image(ndim, 16) + 0.5)
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_stay(name):
    make, ndim = LAYERS[name]
    layer = trained(make, ndim)
    before = copy.deepcopy(layer.state_dict())
    folded = fold(layer)
    layer.eval()
    for _ in range(2):
        x = image(ndim)
        torch.testing.assert_close(folded(x), layer(x), rtol=1e-10, atol=1e-10)
        with torch.no_grad():
            torch.testing.assert_close(folded(x), layer(x), rtol=1e-10, atol=1e-10)
    if ndim == 2:
        x = torch.randn(1, C, 12, 5, dtype=torch.float64)  # another size
        torch.testing.assert_close(folded(x), layer(x), rtol=1e-10, atol=1e-10)
    for key, value in layer.state_dict().items():  # the original is as it was
        assert torch.equal(value, before[key])
    is_batch = name not in ("norm of the input", "group norm", "wavelets", "no norm")
    assert (folded.norm is None) == (is_batch or name == "no norm")
    assert not any(p.requires_grad for p in folded.parameters())


def test_gradients_of_the_input_stay():
    layer = trained(*LAYERS["conv"])
    folded, x = fold(layer), image(2).requires_grad_()
    layer.eval()
    found, wanted = (torch.autograd.grad(m(x).square().sum(), x)[0] for m in (folded, layer))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", ["torch", "cpp"])
def test_weights_are_made_once_for_every_kind_of_image(backend, monkeypatch):
    layer = fold(trained(partial(KANConv, C, 8, 3, padding=1, backend=backend), 2))
    made, module = [], {"torch": plain, "cpp": cpp}[backend]
    real = module.forward_weights

    def watched(*arguments):
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(module, "forward_weights", watched)
    x, other = image(2), torch.randn(2, C, 5, 5, dtype=torch.float64)
    for _ in range(3):
        y = layer(x), layer(other)
    assert len(made) == 2
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)  # float64 is not cast
    assert len(made) == 2
    with torch.no_grad():
        layer.basis_weight.mul_(2.0)
    assert not torch.allclose(layer(x), y[0])
    assert len(made) == 3
    fresh = copy.deepcopy(layer)
    assert torch.equal(fresh(x), layer(x)) and len(made) == 4
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    for size in range(4, 40):
        layer(torch.randn(1, C, size, 5, dtype=torch.float64))
    assert len(layer._kept._kept) <= 16


def test_norms_that_cannot_be_folded_stay():
    layer = trained(*LAYERS["conv"])
    layer.norm.register_forward_hook(lambda *arguments: None)
    assert fold(layer).norm is not None
    without = KANConv(C, 8, 3, norm=partial(nn.BatchNorm2d, track_running_stats=False)).double()
    x = image(2)
    torch.testing.assert_close(fold(without)(x), without.eval()(x))


@pytest.mark.parametrize("name", ["simple_conv_kagn", "vggkagn_bn", "simple_conv_moe_kagn_bn"])
def test_models(name):
    torch.manual_seed(0)
    options = {"width_scale": 0.1} if "vgg" in name else {"layer_sizes": (8, 8, 8, 16)}
    model = create_model(name, num_classes=10, input_channels=3, **options)
    for _ in range(2):
        model(torch.randn(8, 3, 32, 32))
    folded, x = fold(model), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        wanted = model.eval()(x)
        torch.testing.assert_close(folded(x), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max())
    norms = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) < len([m for m in model.modules() if isinstance(m, nn.BatchNorm2d)])


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        folded, x = fold(trained(*LAYERS["conv"])), image(2)
        y = folded(x)
        folded.basis_weight.mul_(2.0)
        assert not torch.allclose(folded(x), y)


def test_weights_kept_in_inference_mode_serve_gradients_too():
    layer = trained(*LAYERS["conv"])
    folded, x = fold(layer), image(2).requires_grad_()
    with torch.inference_mode():
        folded(x)
    (found,) = torch.autograd.grad(folded(x).square().sum(), x)
    (wanted,) = torch.autograd.grad(layer.eval()(x).square().sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def assign(layer):
    """A later tensor may lie where the one lay that the last call has seen."""
    weight, seen = layer.basis_weight, layer.basis_weight.data_ptr()
    for _ in range(20):
        weight.data = weight.data * 1.1
        if weight.data_ptr() == seen:
            break


def load_assigned(layer):
    layer.load_state_dict({k: 2 * v for k, v in layer.state_dict().items()}, assign=True)


def step(layer):
    layer.basis_weight.requires_grad_().grad = torch.ones_like(layer.basis_weight)
    torch.optim.SGD([layer.basis_weight], lr=0.1).step()


def through_data(layer):
    layer.basis_weight.data.mul_(2)
    refresh(layer)


def through_numpy(layer):
    layer.basis_weight.numpy()[:] = 0.5
    refresh(layer)


CHANGES = {
    "in place": lambda layer: layer.basis_weight.mul_(2),
    "one of several": lambda layer: layer.base_weight.mul_(2),
    "assigned": assign,
    "loaded": lambda layer: layer.load_state_dict(
        {k: 2 * v for k, v in layer.state_dict().items()}
    ),
    "loaded by assignment": load_assigned,
    "an optimizer's step": step,
    "as a vector": lambda layer: nn.utils.vector_to_parameters(
        2 * nn.utils.parameters_to_vector(layer.parameters()), layer.parameters()
    ),
    "through data": through_data,
    "through numpy": through_numpy,
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_weights_are_noticed_or_told(change):
    layer = fold(trained(*LAYERS["conv"]))
    x = image(2)
    before = layer(x)
    with torch.no_grad():
        CHANGES[change](layer)
        assert torch.equal(layer(x), copy.deepcopy(layer)(x))  # a copy keeps nothing
    assert not torch.allclose(layer(x), before)


def test_every_layer_of_a_model_is_refreshed():
    model = nn.Sequential(KANConv(C, 8, 3, padding=1), Bottleneck(8, 8, 3)).double().eval()
    folded, x = fold(model), image(2)
    before = folded(x)
    for p in folded.parameters():
        p.data.mul_(1.5)
    assert not torch.allclose(refresh(folded)(x), before)
    assert torch.equal(folded(x), copy.deepcopy(folded)(x))
    assert refresh(model) is model
