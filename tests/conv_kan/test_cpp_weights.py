"""The weights of the convolution and their gradients by C++, against the torch reference."""

from dataclasses import replace

import pytest
import torch

from conv_kan.ops.cpp import weights as compiled
from conv_kan.ops.cpp.build import CannotCompileError
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


def make(name, constants=(1.0,), base=True, value=F64, edge=False):
    torch.manual_seed(0)
    ndim, arguments, size = GEOMETRIES[name]
    geometry = make_geometry(ndim, *arguments) if ndim else Geometry()
    function = torch.sin if base else None
    expansion = Expansion(lambda u: [], 4, tuple(constants), 0.7, function)
    shape = (OUTPUTS, C // geometry.groups)
    basis_weight = torch.randn(*shape, 4, *geometry.kernel_size).to(value)
    base_weight = torch.randn(*shape, *geometry.kernel_size).to(value) if base else None
    edges = torch.randn(shape).to(value) if edge else None
    return Weights(basis_weight, base_weight, None, edges), Plan(expansion, geometry, value, size)


def check(found, wanted, **limits):
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            one, other = one.double(), other.double()
            torch.testing.assert_close(one, other, **limits)


KINDS = pytest.mark.parametrize(
    ("base", "constants", "edge"),
    [
        *((base, c, False) for base in (False, True) for c in ((), (1.0,), (0.5, -2.0))),
        *((True, (), True), (False, (0.5, -2.0), True)),
    ],
)


@KINDS
@pytest.mark.parametrize("name", GEOMETRIES)
def test_forward(name, base, constants, edge):
    weights, plan = make(name, constants, base, edge=edge)
    for bias in (None, torch.randn(OUTPUTS, dtype=F64)):
        weights = weights._replace(bias=bias)
        found, wanted = (m.forward_weights(weights, plan) for m in (compiled, reference))
        check(found, wanted, rtol=1e-12, atol=1e-12)
        assert torch.equal(compiled.joint_weight(weights, plan), found.weight)


@KINDS
@pytest.mark.parametrize("name", GEOMETRIES)
def test_backward(name, base, constants, edge):
    weights, plan = make(name, constants, base, edge=edge)
    grad_y = torch.randn(3, OUTPUTS, *plan.geometry.output_size(plan.size), dtype=F64)
    grad_weight = torch.randn_like(reference.joint_weight(weights, plan))
    layouts = [grad_weight]
    if plan.geometry.ndim == 2:
        layouts.append(grad_weight.contiguous(memory_format=torch.channels_last))
    for grad in layouts:
        arguments = grad, grad_y, weights, plan
        found, wanted = (m.weight_grads(*arguments) for m in (compiled, reference))
        check(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("module", [compiled, reference])
@pytest.mark.parametrize("name", ["padded", "linear", "strided, groups"])
def test_factors_of_edges_are_those_of_a_weight_that_is_multiplied_before(name, module):
    """Every gradient is that of autograd through the product."""
    weights, plan = make(name, (0.5, -2.0), edge=True)
    leaves = [w.requires_grad_() for w in (weights.basis, weights.edge)]
    product = weights._replace(basis=leaves[0] * weights.edges, edge=None)
    for one, other in zip(
        module.forward_weights(weights, plan), module.forward_weights(product, plan), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    grad_y = torch.randn(3, OUTPUTS, *plan.geometry.output_size(plan.size), dtype=F64)
    grad_weight = torch.randn_like(reference.joint_weight(weights, plan))
    with torch.no_grad():
        found = module.weight_grads(grad_weight, grad_y, weights, plan)
        through = module.weight_grads(grad_weight, grad_y, product, plan)
    wanted = torch.autograd.grad(product.basis, leaves, through.basis)
    torch.testing.assert_close((found.basis, found.edge), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize(("value", "stored"), [(F32, F32), (F32, BF16), (F32, F16), (BF16, BF16)])
def test_dtypes(value, stored, edge):
    weights, plan = make("padded", value=value, edge=edge)
    plan = replace(plan, dtype=stored)
    found, wanted = (m.forward_weights(weights, plan) for m in (compiled, reference))
    eps = torch.finfo(stored).eps
    check(found, wanted, rtol=2 * eps, atol=16 * eps)  # levels are sums over channels
    grad_y = torch.randn(3, OUTPUTS, *plan.size).to(stored)
    grad_weight = torch.randn(found.weight.shape).to(stored)
    arguments = grad_weight, grad_y, weights, plan
    found, wanted = (m.weight_grads(*arguments) for m in (compiled, reference))
    eps = torch.finfo(value).eps
    # Taps are sums over positions, and the factors of edges have sums of products.
    check(found, wanted, rtol=4 * eps, atol=(64 if edge else 16) * eps)


def test_weights_that_are_not_dense():
    weights, plan = make("padded", edge=True)
    spread = Weights(
        *(w if w is None else w.movedim(0, -1).contiguous().movedim(-1, 0) for w in weights)
    )
    found, wanted = (compiled.forward_weights(w, plan) for w in (spread, weights))
    check(found, wanted, rtol=0.0, atol=0.0)


def test_without_a_compiler_torch_computes(monkeypatch):
    def kernels(value, stored):
        raise CannotCompileError("there is no compiler")

    monkeypatch.setattr(compiled, "kernels", kernels)
    arguments = make("padded")
    check(compiled.forward_weights(*arguments), reference.forward_weights(*arguments))


def test_boxes_are_on_the_cpu_wherever_tensors_are_made():
    geometry = make_geometry(2, 3, 1, 1, 1, 1)
    with torch.device("meta"):
        table = box_table(geometry, (5, 29))
    assert table.inside.shape == (9, 9) and table.inside.device.type == "cpu"
    assert table.box.bincount().argmax() == 8  # the largest box is the last
