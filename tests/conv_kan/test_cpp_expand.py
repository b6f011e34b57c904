"""The C++ kernels against plain torch: values, gradients, dtypes, layouts, sizes, odd numbers."""

import pytest
import torch
from oracle import shaped_basis

from conv_kan.bases import create_basis, list_bases
from conv_kan.ops import cpp
from conv_kan.ops import plain as reference
from conv_kan.ops.maths.activations import ACTIVATIONS
from conv_kan.ops.maths.dtypes import working_dtype
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import NOTHING
from conv_kan.ops.maths.geometry import Geometry, make_geometry
from conv_kan.ops.maths.memory import memory_format
from conv_kan.ops.maths.plan import Inputs, Plan, Wanted

C = 20  # more than one pack of channels, and not a multiple of one
BASE = {"bspline": "gelu", "legendre": "identity", "chebyshev": None}
FLAVOURS = {  # dtypes of x and of the buffer, layout, whether u is apart, extra zeros
    "planes": (torch.float32, torch.float32, torch.contiguous_format, False, False),
    "last": (torch.float32, torch.float32, torch.channels_last, True, True),
    "double": (torch.float64, torch.float64, torch.contiguous_format, True, True),
    "double last": (torch.float64, torch.float64, torch.channels_last, False, False),
    "autocast": (torch.float32, torch.bfloat16, torch.contiguous_format, False, False),
    "bfloat16": (torch.bfloat16, torch.bfloat16, torch.channels_last, False, False),
    "half": (torch.float16, torch.float16, torch.contiguous_format, False, True),
}


def no_functions(u, *shape):
    return []


def expansion_of(basis, base):
    function = None if base is None else ACTIVATIONS[base]
    if basis is None:
        return Expansion(no_functions, 0, (), 1.0, function, base, NOTHING)
    constants = tuple(basis.constants.values())
    return Expansion(
        basis.functions, basis.num_functions, constants, 1.0, function, base, basis.formula()
    )


def compute(backend, inputs, plan, grad):
    """The expansion; the expansion as it is refilled; the gradients of x, u and the shape."""
    buffer = backend.expand_inputs(inputs, plan)
    layout = memory_format(inputs.x)
    other = grad.to(plan.dtype).contiguous(memory_format=layout).clone()
    needs = [True, inputs.u is not None, *[True] * len(inputs.shape)]
    grads = backend.pull_back(other, inputs, plan, Wanted(needs, True))
    return [buffer, other, *(g for g in grads if g is not None)]


class Case:
    """One input in some dtype, and the same numbers in float64."""

    def __init__(self, basis, base, x, u, geometry, dtype):
        self.expansion, self.geometry = expansion_of(basis, base), geometry
        self.shape = () if basis is None else tuple(t.detach() for t in basis.shape)
        self.x, self.u, self.dtype = x, u, dtype
        size = (x.shape[0], x.shape[1] * self.expansion.num_maps)
        size += geometry.padded_size(x.shape[2:])
        self.grad = torch.randn(size, dtype=torch.float64).to(dtype)

    def by(self, backend, dtype=None):
        def cast(t):
            return t if t is None or dtype is None else t.to(dtype)

        shape = tuple(cast(t) for t in self.shape)
        inputs = Inputs(cast(self.x), cast(self.u), shape)
        return compute(backend, inputs, self.plan(dtype or self.dtype), self.grad)

    def plan(self, dtype):
        return Plan(self.expansion, self.geometry, dtype, self.x.shape[2:])

    def check(self):
        found, eager = self.by(cpp), self.by(reference)
        exact = self.by(reference, torch.float64)
        num_maps = len(found) - len(self.shape)
        for i, (mine, plain, true) in enumerate(zip(found, eager, exact, strict=True)):
            assert mine.dtype == plain.dtype and mine.shape == plain.shape
            if true.numel() == 0:
                continue
            assert mine.stride() == plain.stride() or mine.dim() < 3
            scale, eps = float(true.abs().max()), torch.finfo(working_dtype(self.x)).eps
            error, allowed = (float((t.double() - true).abs().max()) for t in (mine, plain))
            # Gradients of a shape are sums over the input, whose terms are larger than they.
            floor = 8.0 if i < num_maps else 64.0
            assert error <= 2.0 * allowed + floor * eps * scale


def make_case(name, flavour, size=(7, 9), batch=3, channels=C, **options):
    torch.manual_seed(0)
    dtype, stored, layout, apart, extra = FLAVOURS[flavour]
    basis = shaped_basis(name, **options).to(dtype)
    basis.bind(channels)
    with torch.no_grad():
        for p in basis.parameters():
            p.add_(0.1 * torch.randn_like(p))
    ndim = len(size)
    x, u = (
        (1.5 * torch.randn(batch, channels, *size)).to(dtype).contiguous(memory_format=layout)
        for _ in range(2)
    )
    geometry = make_geometry(ndim, 2 if extra else 3, 1, "same", 1, 1) if ndim else Geometry()
    base = BASE.get(name, "silu")
    return Case(basis, base, x, u if apart and base is not None else None, geometry, stored)


@pytest.mark.parametrize("flavour", ["planes", "last"])
@pytest.mark.parametrize("name", list_bases())
def test_error_is_at_most_twice_that_of_torch(name, flavour):
    make_case(name, flavour).check()


@pytest.mark.parametrize("flavour", ["double", "double last"])
@pytest.mark.parametrize("name", ["gram", "bspline", "relu"])
def test_double(name, flavour):
    make_case(name, flavour).check()


@pytest.mark.parametrize("flavour", ["autocast", "bfloat16", "half"])
def test_half_precision(flavour):
    make_case("gram", flavour).check()


@pytest.mark.parametrize("base", ACTIVATIONS)
def test_base_functions(base):
    x = torch.cat([3.0 * torch.randn(2, 3, 4, 5), torch.tensor([[-30.0, 0.0, 1e-3, 25.0]] * 3)
                   .view(1, 3, 4, 1).expand(2, 3, 4, 1)], dim=3)  # fmt: skip
    Case(None, base, x, None, make_geometry(2, 1, 1, 0, 1, 1), torch.float32).check()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gram", {"degree": 1}),
        ("gram", {"outer": "gelu", "squash": "none"}),
        ("bspline", {"spline_order": 0}),
        ("bspline", {"spline_order": 5, "grid_size": 2}),
        ("jacobi", {"degree": 6, "a": 0.5, "b": -0.25}),
        ("bernstein", {"degree": 6}),
        ("rational", {"num_groups": 5}),
        ("wavelet", {"wavelet": "morlet"}),
        ("wavelet", {"wavelet": "meyer", "num_wavelets": 1}),
        ("wavelet", {"wavelet": "shannon"}),
        ("wavelet", {"wavelet": "dog"}),
    ],
)
def test_options_reach_the_kernel(name, options):
    make_case(name, "planes", **options).check()


@pytest.mark.parametrize("degree", [1, 2, 4, 7, 14, 15, 16, 24])
def test_any_number_of_functions_beside_each_other(degree):
    make_case("monomial", "last", degree=degree).check()


SIZES = [((), 5), ((1,), 2), ((13,), 3), ((1, 1), 2), ((16, 16), 1), ((3, 5, 2), 2), ((7, 3), 0)]


@pytest.mark.parametrize("channels", [1, 3, 16, 37])
@pytest.mark.parametrize(("size", "batch"), SIZES)
def test_sizes(size, batch, channels):
    make_case("gram", "planes", size, batch, channels).check()
    if len(size) == 2:
        make_case("gram", "last", size, batch, channels).check()


def test_strided_inputs():
    case = make_case("gram", "planes")
    case.x = torch.randn(6, 2 * C, 9, 18)[::2, ::2, 1:8, ::2]
    case.check()
    case.x = torch.randn(1, C, 1, 9).expand(3, C, 7, 9)
    case.check()


def test_shapes_shared_by_groups_of_channels():
    basis = create_basis("relu")
    basis.bind(4 * C, groups=4)
    with torch.no_grad():
        for p in basis.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randn(2, 4 * C, 5, 3)
    for layout in (torch.contiguous_format, torch.channels_last):
        image = x.contiguous(memory_format=layout)
        Case(basis, None, image, None, make_geometry(2, 1, 1, 0, 1, 1), torch.float32).check()


def test_knots_and_ends():
    for name in ("bspline", "relu", "rbf", "shared_spline"):
        basis = create_basis(name)
        basis.bind(1)
        knots = torch.linspace(-2.0, 2.0, 41).view(1, 1, 41)
        around = torch.cat([knots - 1e-6, knots, knots + 1e-6], dim=2)
        geometry = make_geometry(1, 1, 1, 0, 1, 1)
        Case(basis, None, around, None, geometry, torch.float32).check()


def test_only_wanted_gradients():
    case = make_case("gram", "planes")
    grad = case.grad.clone()
    before = grad.clone()
    arguments = Inputs(case.x, None, case.shape), case.plan(torch.float32)
    assert cpp.pull_back(grad, *arguments, Wanted([False] * 3, False)) == [None, None, None]
    assert torch.equal(grad, before)  # not refilled
    only_shape = cpp.pull_back(grad, *arguments, Wanted([False, False, True], False))
    everything = cpp.pull_back(grad, *arguments, Wanted([True, False, True], True))
    assert only_shape[0] is None and torch.equal(only_shape[2], everything[2])
    expanded = cpp.expand_inputs(*arguments)
    torch.testing.assert_close(grad, expanded, rtol=1e-6, atol=1e-6)


def test_a_gradient_in_another_layout_is_refilled_in_place():
    case = make_case("gram", "planes")
    wanted = case.by(cpp)
    grad = case.grad.contiguous(memory_format=torch.channels_last)
    arguments = Inputs(case.x, None, case.shape), case.plan(case.dtype)
    x_grad = cpp.pull_back(grad, *arguments, Wanted([True, False, True], True))[0]
    torch.testing.assert_close(x_grad, wanted[2])
    torch.testing.assert_close(grad, wanted[1])


def test_sums_do_not_depend_on_chance():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        case = make_case("relu", "planes", size=(40, 40))
        first = case.by(cpp)
        for _ in range(3):
            assert all(map(torch.equal, case.by(cpp), first))
    finally:
        torch.set_num_threads(threads)


def identity(x, stored):
    """x, written by the kernel into a buffer of a dtype and read into the gradient of x."""
    expansion, geometry = expansion_of(None, "identity"), make_geometry(2, 1, 1, 0, 1, 1)
    plan = Plan(expansion, geometry, stored, x.shape[2:])
    buffer = cpp.expand_inputs(Inputs(x), plan)
    wanted = Wanted([True, False], False)
    (grad, _) = cpp.pull_back(buffer.clone(), Inputs(x), plan, wanted)
    return buffer, grad


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 1 << 4])  # number by number, and pack by pack
def test_every_number_of_two_bytes_is_read_and_every_float_rounded_as_torch_does(stored, count):
    torch.manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (1 << 20,)).int()  # all exponents, infinities and NaN
    near = torch.arange(-(2**15), 2**15).short().view(stored).float().view(torch.int32)
    near = (near.unsqueeze(1) + torch.tensor([-1, 0, 1, 1 << 11, 1 << 12, 1 << 15])).flatten()
    x = torch.cat([bits, near.int()]).view(torch.float32)
    x = x.view(-1, 1, 1, count)
    buffer, _ = identity(x, stored)
    torch.testing.assert_close(buffer, x.to(stored), rtol=0.0, atol=0.0, equal_nan=True)
    every = torch.arange(-(2**15), 2**15).short().view(stored).view(-1, 1, 1, count)
    wide = every.float()
    buffer, grad = identity(every, stored)
    torch.testing.assert_close(buffer, every, rtol=0.0, atol=0.0, equal_nan=True)
    _, grad = identity(wide, stored)
    torch.testing.assert_close(grad, wide, rtol=0.0, atol=0.0, equal_nan=True)
