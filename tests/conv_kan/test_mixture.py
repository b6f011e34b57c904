"""The mixture of experts: gates, load, penalty, dispatch, surroundings."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from conv_kan import Bottleneck, KANConv, KANLinear, MixtureOfExperts
from conv_kan.layers.mixture import mixture_penalty, squared_variation


class Count(nn.Module):
    """An expert that scales its input and remembers how many samples it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(()))
        self.seen = 0

    def forward(self, x):
        self.seen = len(x)
        return self.weight * x


def make(expert=Count, spread=1.0, **options):
    layer = MixtureOfExperts(4, expert=expert, **{"num_experts": 5, "k": 2, **options})
    nn.init.normal_(layer.gate_weight, std=spread)
    return layer


def test_eval_is_the_gated_sum_of_the_best_experts():
    layer, x = make().eval(), torch.randn(6, 4, 3, 3)
    logits = x.mean((2, 3)) @ layer.gate_weight
    top = logits.topk(2, dim=1)
    gates = torch.zeros(6, 5).scatter(1, top.indices, top.values.softmax(1))
    scale = gates @ torch.stack([expert.weight for expert in layer.experts])
    torch.testing.assert_close(layer(x), scale.view(-1, 1, 1, 1) * x)
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)
    for e, expert in enumerate(layer.experts):
        assert expert.seen == (gates[:, e] > 0).sum()
    assert layer.penalty() == 0


def test_load_is_the_probability_of_being_chosen_again():
    torch.manual_seed(0)
    layer, x = make(spread=0.5), torch.randn(1, 4)
    nn.init.normal_(layer.noise_weight)
    clean = x @ layer.gate_weight
    deviation = nn.functional.softplus(x @ layer.noise_weight) + 1e-2
    logits = clean + torch.randn_like(clean) * deviation
    load = layer._load(clean, logits, deviation, torch.zeros_like(clean))
    for e in range(5):  # draw the noise of one expert again, the others' stay
        noisy = logits.repeat(20000, 1)
        noisy[:, e] = clean[0, e] + torch.randn(20000) * deviation[0, e]
        chosen = (noisy.topk(2, dim=1).indices == e).any(1).float().mean()
        assert load[e].item() == pytest.approx(chosen.item(), abs=0.015)


@pytest.mark.parametrize("options", [{}, {"noisy": False}, {"k": 5}, {"num_experts": 1, "k": 1}])
def test_penalty_is_given_once_and_trains_the_gates(options):
    layer = make(**options)
    layer(torch.randn(16, 4, 3, 3))
    penalty = layer.penalty()
    assert penalty.isfinite() and penalty >= 0 and layer.penalty() == 0
    if layer.num_experts > 1:
        penalty.backward()
        assert layer.gate_weight.grad.abs().sum() > 0
        if layer.noisy and layer.k < layer.num_experts:
            assert layer.noise_weight.grad.abs().sum() > 0


def test_a_mixture_that_runs_again_in_backward_leaves_no_penalty():
    plain = make()
    again = copy.deepcopy(plain)
    x = torch.randn(16, 4, 3, 3)
    for layer, run in (
        (plain, plain),
        (again, lambda x: checkpoint(again, x, use_reentrant=False)),
    ):
        torch.manual_seed(0)
        (run(x).square().sum() + layer.penalty()).backward()
        assert layer.penalty() == 0
    assert all(
        torch.equal(p.grad, q.grad)
        for p, q in zip(plain.parameters(), again.parameters(), strict=True)
    )


def test_penalty_falls_when_trained_on():
    torch.manual_seed(0)
    layer, x = make(spread=2.0), torch.randn(64, 4)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    penalties = []
    for _ in range(60):
        layer(x)
        optimizer.zero_grad()
        penalties.append(mixture_penalty(layer))
        penalties[-1].backward()
        optimizer.step()
    assert sum(penalties[-5:]) < 0.3 * sum(penalties[:5])


def test_squared_variation():
    values = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(squared_variation(values), torch.tensor(1.0 / 4.0))
    assert squared_variation(torch.ones(1)) == 0


def test_all_parameters_have_gradients_also_without_samples():
    layer = make(expert=lambda: KANConv(4, 6, 3, norm="layer"), num_experts=8, k=1, noisy=False)
    layer(torch.randn(1, 4, 5, 5)).sum().backward()
    grads = [expert.basis_weight.grad for expert in layer.experts]
    assert all(grad is not None for grad in grads)
    assert sum(bool(grad.abs().sum() > 0) for grad in grads) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_experts_dtype(dtype):
    layer, x = make(expert=lambda: KANConv(4, 6, 3)), torch.randn(8, 4, 5, 5)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    assert y.dtype == dtype and layer.penalty().dtype == torch.float32
    y.float().sum().backward()
    assert layer.gate_weight.grad.isfinite().all()


def test_copies_after_a_training_step_hold_no_graph():
    layer, x = make(), torch.randn(8, 4, 5, 5)
    layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.penalty() == 0
        torch.testing.assert_close(twin.eval()(x), layer.eval()(x))
        layer.train()
    assert layer.penalty() > 0


def test_compiled_training_leaves_a_penalty():
    torch._dynamo.reset()
    layer = make(expert=lambda: nn.Linear(4, 3), num_experts=3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    (compiled(torch.randn(6, 4)).sum() + layer.penalty()).backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_inside_a_bottleneck_with_a_pre_gate():
    """The published MoE bottleneck: gates in the inner space, and no parameter without use."""

    def mixture(c_in, c_out, kernel_size, **options):
        return MixtureOfExperts(
            c_in,
            expert=lambda: KANConv(c_in, c_out, kernel_size, **options),
            num_experts=3,
            k=2,
            pre_gate=KANLinear(c_in, c_in),
        )

    layer = Bottleneck(8, 12, 3, padding=1, min_inner=4, layer=mixture)
    y = layer(torch.randn(6, 8, 5, 5))
    (y.square().sum() + mixture_penalty(layer)).backward()
    assert y.shape == (6, 12, 5, 5)
    assert all(p.grad is not None for p in layer.parameters())
    assert layer.inner.gate_weight.shape == (4, 3)


def test_empty_batch_and_errors():
    layer = make(expert=lambda: KANConv(4, 6, 3))
    y = layer(torch.randn(0, 4, 5, 5))
    assert y.shape == (0, 6, 3, 3) and layer.penalty().isfinite()
    with pytest.raises(ValueError, match="k=3 exceeds num_experts=2"):
        make(num_experts=2, k=3)
    with pytest.raises(ValueError, match=r"takes \(batch, 4, \.\.\.\)"):
        layer(torch.randn(2, 3, 5, 5))
    with pytest.raises(TypeError, match="floating-point"):
        layer(torch.zeros(2, 4, 5, 5, dtype=torch.int64))
