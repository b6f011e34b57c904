"""The weights of the convolution and their gradients by C++, against the torch reference."""

from dataclasses import replace

import pytest
import torch

from conv_kan.ops.cpp import weights as compiled
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.geometry import Geometry, make_geometry
from conv_kan.ops.maths.plan import Plan, Weights
from conv_kan.ops.plain import weights as reference
from conv_kan.ops.plain.borders import box_table

GEOMETRIES = {  # spatial dimensions, arguments of make_geometry after it, size
    "linear": (0, None, ()),
    "padded": (2, (3, 1, 1, 1, 1), (7, 9)),
    "not padded": (2, (3, 1, 0, 1, 1), (7, 9)),
    "strided, groups": (2, (3, 2, 2, 1, 2), (8, 5)),
    "even and same": (2, ((2, 4), 1, "same", 1, 1), (5, 6)),
    "dilated": (2, (3, 1, 2, 2, 1), (9, 4)),
    "padding wider than the image": (2, (5, 1, 2, 1, 1), (2, 1)),
    "sequence": (1, (5, 1, 2, 1, 1), (11,)),
    "volume": (3, (3, 1, (1, 0, 1), 1, 1), (4, 5, 3)),
}
F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
OUTPUTS, C = 6, 8


def make(name, constants=(1.0,), base=True, value=F64):
    torch.manual_seed(0)
    ndim, arguments, size = GEOMETRIES[name]
    geometry = make_geometry(ndim, *arguments) if ndim else Geometry()
    function = torch.sin if base else None
    expansion = Expansion(lambda u: [], 4, tuple(constants), 0.7, function)
    shape = (OUTPUTS, C // geometry.groups)
    basis_weight = torch.randn(*shape, 4, *geometry.kernel_size).to(value)
    base_weight = torch.randn(*shape, *geometry.kernel_size).to(value) if base else None
    return Weights(basis_weight, base_weight), Plan(expansion, geometry, value, size)


def check(found, wanted, **limits):
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, **limits)


@pytest.mark.parametrize("constants", [(), (1.0,), (0.5, -2.0)])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_forward(name, base, constants):
    weights, plan = make(name, constants, base)
    for bias in (None, torch.randn(OUTPUTS, dtype=F64)):
        weights = weights._replace(bias=bias)
        found, wanted = (m.forward_weights(weights, plan) for m in (compiled, reference))
        check(found, wanted, rtol=1e-12, atol=1e-12)
        assert torch.equal(compiled.joint_weight(weights, plan), found.weight)


@pytest.mark.parametrize("constants", [(), (1.0,), (0.5, -2.0)])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_backward(name, base, constants):
    weights, plan = make(name, constants, base)
    grad_y = torch.randn(3, OUTPUTS, *plan.geometry.output_size(plan.size), dtype=F64)
    grad_weight = torch.randn_like(reference.joint_weight(weights, plan))
    layouts = [grad_weight]
    if plan.geometry.ndim == 2:
        layouts.append(grad_weight.contiguous(memory_format=torch.channels_last))
    for grad in layouts:
        arguments = grad, grad_y, weights, plan
        found, wanted = (m.weight_grads(*arguments) for m in (compiled, reference))
        check(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("value", "stored"), [(F32, F32), (F32, BF16), (F32, F16), (BF16, BF16)])
def test_dtypes(value, stored):
    weights, plan = make("padded", value=value)
    plan = replace(plan, dtype=stored)
    found, wanted = (m.forward_weights(weights, plan) for m in (compiled, reference))
    eps = torch.finfo(stored).eps
    check(found, wanted, rtol=2 * eps, atol=16 * eps)  # levels are sums over channels
    grad_y = torch.randn(3, OUTPUTS, *plan.size).to(stored)
    grad_weight = torch.randn(found.weight.shape).to(stored)
    arguments = grad_weight, grad_y, weights, plan
    found, wanted = (m.weight_grads(*arguments) for m in (compiled, reference))
    eps = torch.finfo(value).eps
    check(found, wanted, rtol=4 * eps, atol=16 * eps)  # taps are sums over positions


def test_weights_that_are_not_dense():
    weights, plan = make("padded")
    spread = Weights(*(w.movedim(0, -1).contiguous().movedim(-1, 0) for w in weights[:2]))
    found, wanted = (compiled.forward_weights(w, plan) for w in (spread, weights))
    check(found, wanted, rtol=0.0, atol=0.0)


def test_without_a_compiler_torch_computes(monkeypatch):
    monkeypatch.setattr(compiled, "kernels", lambda value, stored: None)
    arguments = make("padded")
    check(compiled.forward_weights(*arguments), reference.forward_weights(*arguments))


def test_boxes_are_on_the_cpu_wherever_tensors_are_made():
    geometry = make_geometry(2, 3, 1, 1, 1, 1)
    with torch.device("meta"):
        table = box_table(geometry, (5, 29))
    assert table.inside.shape == (9, 9) and table.inside.device.type == "cpu"
    assert table.box.bincount().argmax() == 8  # the largest box is the last
