"""Self-attention against its formula."""

import math

import pytest
import torch
from torch import nn

from conv_kan import KANConv, SelfAttention
from conv_kan.layers.rope import RotaryEmbedding
from experiments.benchmarks.memory import kept_bytes


def make(ndim, inner=None, **options):
    def layer(c_in, c_out):
        return KANConv(c_in, c_out, 3, ndim=ndim, padding=1)

    return SelfAttention(6, layer=layer, ndim=ndim, inner=inner, **options).double()


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("inner", [None, 4])
def test_equals_the_formula(ndim, inner):
    attention = make(ndim, inner)
    with torch.no_grad():
        attention.gamma.fill_(0.3)
    x = torch.randn(2, 6, *(4, 3, 5)[:ndim], dtype=torch.float64)
    h = attention.inner_proj(x)
    q, k, v = (p(h).flatten(2) for p in (attention.proj_q, attention.proj_k, attention.proj_v))
    scores = torch.einsum("bdi,bdj->bij", q, k).softmax(dim=2)
    out = torch.einsum("bij,bdj->bdi", scores, v).reshape(h.shape)
    expected = attention.norm(0.3 * x + attention.outer_proj(out))
    torch.testing.assert_close(attention(x), expected)


def test_parameters_and_initial_skip():
    attention = make(2, inner=4)
    assert torch.equal(attention.gamma, torch.zeros(1, dtype=torch.float64))
    assert attention.inner_proj.bias is not None and attention.outer_proj.bias is not None
    assert isinstance(attention.norm, nn.BatchNorm2d)
    assert make(2, norm=None).norm is None
    x = torch.randn(2, 6, 4, 4, dtype=torch.float64, requires_grad=True)
    attention(x).square().sum().backward()
    assert all(p.grad is not None for p in attention.parameters())


def test_errors():
    with pytest.raises(ValueError, match="padding=kernel_size // 2"):
        SelfAttention(6, layer=lambda i, o: KANConv(i, o, 3))(torch.randn(2, 6, 4, 4))
    with pytest.raises(ValueError, match="inner=0"):
        make(2, inner=0)
    with pytest.raises(ValueError, match="ndim=4"):
        make(4)
    with pytest.raises(ValueError, match="did you mean 'axial'"):
        make(2, rope="axal")
    with pytest.raises(ValueError, match="6 channels are not divisible by 4"):
        make(2, rope="axial")
    with pytest.warns(UserWarning, match="cannot learn"):
        make(2, norm="instance")
    with pytest.raises(ValueError, match=r"SelfAttention got .* takes \(batch, 6, height, width\)"):
        make(2, inner=4)(torch.randn(2, 5, 4, 4).double())
    with pytest.raises(ValueError, match="rope_theta=0"):
        make(1, rope="axial", rope_theta=0)


def rotate_by_hand(token, angles):
    """Pairs of channels as complex numbers, times exp(i angle)."""
    turned = torch.view_as_complex(token.view(-1, 2)) * torch.exp(1j * angles)
    return torch.view_as_real(turned).flatten()


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("mode", ["mixed", "axial"])
def test_every_token_is_rotated_by_its_place_on_the_grid(ndim, mode):
    size, channels = (4, 3, 2)[:ndim], 12
    rope = RotaryEmbedding(channels, ndim=ndim, mode=mode).double()
    tokens = torch.randn(1, math.prod(size), channels, dtype=torch.float64)
    rotated = rope(tokens, size)
    n = channels // (2 * ndim)
    if mode == "mixed":
        f = rope.frequencies
    else:
        f = torch.zeros(ndim, channels // 2, dtype=torch.float64)
        for a in range(ndim):
            f[a, a * n : (a + 1) * n] = 10.0 ** (-2 * ndim * torch.arange(n) / channels)
    for t, place in enumerate(torch.cartesian_prod(*map(torch.arange, size)).view(-1, ndim)):
        angles = place.flip(0).double() @ f
        wanted = rotate_by_hand(tokens[0, t], angles)
        torch.testing.assert_close(rotated[0, t], wanted, rtol=1e-6, atol=1e-6)
    lengths = rope._fixed(tokens, torch.eye(ndim)).norm(dim=0)
    if mode == "mixed":  # directions are rotated, magnitudes stay
        torch.testing.assert_close(f.norm(dim=0).float(), lengths)


@pytest.mark.parametrize("mode", ["mixed", "axial"])
def test_scores_depend_on_differences_of_positions(mode):
    rope = RotaryEmbedding(8, mode=mode)
    q, k = (torch.randn(8).expand(1, 30, 8) for _ in range(2))
    scores = (rope(q, (5, 6)) @ rope(k, (5, 6)).transpose(1, 2)).view(5, 6, 5, 6)
    torch.testing.assert_close(scores[0, 0, 2, 3], scores[2, 1, 4, 4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores[3, 4, 1, 1], scores[4, 5, 2, 2], rtol=1e-4, atol=1e-4)


def test_legacy_positions_skip_the_first_token():
    rope = RotaryEmbedding(8, ndim=1, legacy=True)
    tokens = torch.randn(1, 197, 8)
    rotated = rope(tokens, (197,))
    torch.testing.assert_close(rotated[:, 0], tokens[:, 0])
    for t in (0, 1, 13, 14, 195):
        place = torch.tensor([float(t % 14), float(t // 14)])
        wanted = rotate_by_hand(tokens[0, t + 1], place @ rope.frequencies)
        torch.testing.assert_close(rotated[0, t + 1], wanted, rtol=1e-4, atol=1e-5)
    assert rope.frequencies.shape == (2, 4)
    assert RotaryEmbedding(8, legacy=True)(tokens[:, :1], (1, 1)).isfinite().all()


@pytest.mark.parametrize("rope", [None, "mixed"])
def test_scores_are_not_kept(rope):
    attention = SelfAttention(8, layer=lambda i, o: nn.Conv2d(i, o, 1), rope=rope)
    x = torch.randn(1, 8, 24, 24, requires_grad=True)
    kept = kept_bytes(lambda: attention(x), attention.parameters())
    assert kept < 16 * x.nbytes < 24**4 * 4
    attention(x).square().sum().backward()
    assert all(p.grad is not None for p in attention.parameters())
