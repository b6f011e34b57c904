"""The compiled kernels of group rationals against plain torch: layouts, dtypes, orders, edges."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from conv_kan.layers.rational import GroupRational
from conv_kan.ops.rational import group_rational

COMPILED = {  # shape, channels_last, the numbers of coefficients
    "runs": ((3, 6, 700), False, (6, 4)),
    "rows": ((2, 97, 6), True, (6, 4)),
    "one channel a group": ((5, 3), True, (6, 4)),
    "wide rows": ((1, 9, 3 * 37), True, (6, 4)),
    "images": ((2, 6, 5, 7), False, (3, 5)),
    "one element": ((1, 3), True, (1, 1)),
    "no denominator": ((4, 21), True, (1, 0)),
    "of whole packs": ((45, 3 * 32), True, (6, 4)),
    "more rows than a sum": ((3000, 6), True, (6, 4)),
    "longer than a sum": ((2, 3, 5001), False, (3, 1)),
    "of many orders": ((2, 3, 40), False, (12, 9)),
    "of one channel": ((1, 1, 3), False, (2, 7)),
}


def coefficients(counts, groups=3):
    """a and b in float64; some b are 0, in one group all of them."""
    a, b = (torch.randn(size, dtype=torch.float64) for size in (counts[0], (groups, counts[1])))
    b[0] = 0.0
    b[1, counts[1] // 2 :] = 0.0
    return a, b


def results(x, a, b, channels_last, backend):
    """F, and the gradients of x, a and b."""
    leaves = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (x, a, b)]
    y = group_rational(*leaves, channels_last, backend)
    torch.manual_seed(1)
    return [y.detach(), *torch.autograd.grad(y, leaves, torch.randn(y.shape).to(y.dtype))]


def check(found, wanted, tolerance):
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype and one.stride() == other.stride()
        one, other = one.double(), other.double()
        atol = tolerance * float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("case", COMPILED.values(), ids=list(COMPILED))
def test_compiled_kernels_compute_the_same(case):
    shape, channels_last, counts = case
    torch.manual_seed(0)
    x = 2.0 * torch.randn(shape, dtype=torch.float64)
    a, b = coefficients(counts)
    b = b[-shape[-1 if channels_last else 1] :]  # one group for one channel
    check(*(results(x, a, b, channels_last, name) for name in ("cpp", "torch")), 1e-11)


def test_compiled_kernels_meet_large_numbers_among_others():
    """Powers of some would overflow: only the pieces of memory that hold them take another way."""
    torch.manual_seed(0)
    a, b = coefficients((6, 4))
    b = b + 0.1  # where b = 0, gradients overflow
    for shape, channels_last in (((90, 6), True), ((2, 3, 2000), False)):
        x = torch.randn(shape)
        x.view(-1)[torch.randint(x.numel(), (4,))] = torch.tensor([3e4, -3e4, 1e8, -1e5])
        exact = results(x.double(), a, b, channels_last, "torch")
        found = results(x, a.float(), b.float(), channels_last, "cpp")
        plain = results(x, a.float(), b.float(), channels_last, "torch")
        for one, other, wanted in zip(found, plain, exact, strict=True):
            error, limit = (
                (t.double() - wanted).abs() / (1e-3 + wanted.abs()) for t in (one, other)
            )
            assert error.max() <= 2.0 * limit.max() + 1e-5


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_what_is_not_finite_stays_in_its_group(number, backend):
    """Of values and slopes, in its element; of denominators, in its group."""
    torch.manual_seed(0)
    x, (a, b) = torch.randn(7, 9), coefficients((6, 4))
    clean = results(x, a.float(), b.float(), True, backend)
    x[6, 4] = number
    y, grad, grad_a, grad_b = results(x, a.float(), b.float(), True, backend)
    for found, wanted in ((y, clean[0]), (grad, clean[1])):
        assert found[6, 4].isnan()
        found[6, 4] = wanted[6, 4]
        torch.testing.assert_close(found, wanted)
    assert not grad_a.isfinite().all() and not grad_b[1].isfinite().all()
    torch.testing.assert_close(grad_b[::2], clean[3][::2])


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_compiled_kernels_in_every_dtype(dtype, tolerance, channels_last):
    """With parameters in float32, as under autocast, and in the dtype of x."""
    torch.manual_seed(0)
    x = 2.0 * torch.randn(3, 42, 48).to(dtype)
    a, b = coefficients((6, 4))
    for wide in (torch.float32, dtype):
        a, b = a.to(wide), b.to(wide)
        check(*(results(x, a, b, channels_last, name) for name in ("cpp", "torch")), tolerance)


def test_compiled_kernels_take_any_strides():
    torch.manual_seed(0)
    a, b = coefficients((6, 4))
    image = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    views = [
        image.contiguous(memory_format=torch.channels_last),
        image[:, :, ::2, 1:],
        image[:1].expand(4, 6, 5, 7),
        image.transpose(2, 3),
    ]
    for x in views:
        check(*(results(x, a, b, False, name) for name in ("cpp", "torch")), 1e-11)
    y = group_rational(image.requires_grad_(), a, b, False, "cpp")
    y.sum().backward()  # the gradient of y has no strides
    wanted = results(image.detach(), a, b, False, "torch")[0]
    torch.testing.assert_close(y.detach(), wanted)
    ones = torch.autograd.grad(group_rational(image, a, b, False, "torch").sum(), image)[0]
    torch.testing.assert_close(image.grad, ones)


def test_gradients_do_not_depend_on_the_number_of_threads():
    torch.manual_seed(0)
    x, (a, b) = torch.randn(40, 1100, 6), coefficients((6, 4))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(x, a.float(), b.float(), True, "cpp"))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


class Made(TorchDispatchMode):
    """The bytes of every tensor that an operation returns, at least those of `least`."""

    def __init__(self, least):
        super().__init__()
        self.least, self.sizes = least, []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        if isinstance(found, torch.Tensor) and found.numel() >= self.least:
            self.sizes.append(found.nbytes)
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels_last", [True, False])
def test_compiled_kernels_make_no_copy_of_the_input(channels_last, dtype):
    """Nothing of its size is in float32 if it is not; a step makes y and the gradient of x."""
    layer = GroupRational(8, channels_last=channels_last, backend="cpp")
    x = torch.randn(4, 32, 32).to(dtype).requires_grad_()
    grad = torch.randn(x.shape).to(dtype)
    layer(x).backward(grad)  # compiles
    x.grad = None
    with Made(x.numel()) as made:
        layer(x).backward(grad)
    assert max(made.sizes) == x.nbytes
