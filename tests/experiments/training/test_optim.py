"""Optimizers: who decays, and by how much. Schedules: exact values, resume, refusals."""

import io
import math

import pytest
import torch
from torch import nn

from conv_kan import GroupRational, KANConv, SelfAttention, WavKANConv, WavKANLinear
from experiments.config.optim import (
    AdamWConfig,
    CosineConfig,
    LambConfig,
    LBFGSConfig,
    LionConfig,
    OneCycleConfig,
    OptimizerConfig,
    PolynomialConfig,
    SchedulerConfig,
    SGDConfig,
    WarmupConfig,
)
from experiments.errors import ConfigError
from experiments.training.optim import build_optimizer, build_scheduler

OPTIMIZER_CONFIGS = [
    AdamWConfig("adamw", 1e-2),
    SGDConfig("sgd", 1e-2),
    LionConfig("lion", 1e-2),
    LambConfig("lamb", 2e-2),
]
SCHEDULER_CONFIGS = [
    WarmupConfig("constant", warmup=3),
    PolynomialConfig("polynomial", warmup=3, power=0.5),
    CosineConfig("cosine", warmup=3),
    OneCycleConfig("onecycle"),
]


class Basis(nn.Module):
    def __init__(self):
        super().__init__()
        self.phases = nn.Parameter(torch.ones(3, 3))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.basis = Basis()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = Layer()
        self.position = nn.Parameter(torch.ones(2, 2))
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)

    def no_weight_decay(self):
        return {"position"}


def decays(optimizer, model):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}


@pytest.mark.parametrize("cfg", OPTIMIZER_CONFIGS, ids=lambda c: c.name)
def test_only_weights_decay(cfg):
    model = Net()
    decay = decays(build_optimizer(model, cfg), model)
    assert {name for name, value in decay.items() if value > 0} == {
        "layer.conv.weight",
        "head.weight",
    }
    assert set(decay) == {n for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("make, shapes", [
    (lambda: WavKANConv(2, 4, 3), {"scale", "translation"}),
    (lambda: nn.Sequential(WavKANLinear(2, 4)), {"0.scale", "0.translation"}),
    (lambda: SelfAttention(4, layer=nn.Linear, inner=4, rope="mixed"), {"rope.frequencies"}),
    (lambda: GroupRational(4), {"denominator"}),
    (lambda: KANConv(2, 4, 3, basis="gram"), {"basis.beta"}),
    (lambda: KANConv(2, 4, 3, basis="rational"), {"basis.numerator", "basis.denominator"}),
])  # fmt: skip
def test_learned_shapes_do_not_decay(make, shapes):
    model = make()
    found = decays(build_optimizer(model, AdamWConfig(weight_decay=0.1)), model)
    assert shapes <= set(found) and all(found[name] == 0 for name in shapes)
    assert any(value > 0 for value in found.values()) or type(model) is GroupRational


def test_basis_of_a_bare_layer_does_not_decay():
    layer = Layer()
    assert decays(build_optimizer(layer, AdamWConfig()), layer)["basis.phases"] == 0


@pytest.mark.parametrize("cfg", [AdamWConfig("adamw", 0.1), LionConfig("lion", 0.1)])
def test_weight_decay_is_decoupled_and_times_lr(cfg):
    cfg.weight_decay = 0.5
    model = nn.Linear(3, 3, bias=False)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(model, cfg)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("cfg", OPTIMIZER_CONFIGS, ids=lambda c: c.name)
def test_every_optimizer_learns(cfg):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 2), torch.randn(32, 4)
    target = x @ torch.randn(4, 2)
    optimizer = build_optimizer(model, cfg)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_lamb_leaves_clipping_to_the_trainer():
    optimizer = build_optimizer(nn.Linear(2, 2), LambConfig("lamb"))
    assert all(group["max_grad_norm"] is None for group in optimizer.param_groups)


@pytest.mark.parametrize("line_search", [True, False])
def test_lbfgs_minimises_with_a_closure(line_search):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1), torch.randn(32, 4)
    target = x @ torch.randn(4, 1) + 1
    optimizer = build_optimizer(
        model, LBFGSConfig("lbfgs", lr=1.0 if line_search else 0.3, line_search=line_search)
    )

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    assert closure().item() < 1e-4
    assert len(optimizer.param_groups) == 1


def test_configs_of_the_wrong_kind_are_refused():
    with pytest.raises(ConfigError, match=r"optimizer.name='adam' .*did you mean 'adamw'"):
        build_optimizer(nn.Linear(1, 1), OptimizerConfig("adam"))
    with pytest.raises(ConfigError, match=r"AdamWConfig.*optimizer=adamw"):
        build_optimizer(nn.Linear(1, 1), OptimizerConfig("adamw"))
    optimizer = build_optimizer(nn.Linear(1, 1), AdamWConfig())
    with pytest.raises(ConfigError, match=r"CosineConfig.*scheduler=cosine"):
        build_scheduler(optimizer, SchedulerConfig("cosine"), 10, 1)


# --------------------------------------------------------------------------------------- schedules
def make(cfg, total, lr=0.1):
    """An optimizer of two groups and its scheduler."""
    optimizer = build_optimizer(nn.Linear(2, 2), AdamWConfig("adamw", lr))
    assert len(optimizer.param_groups) == 2
    return optimizer, build_scheduler(optimizer, cfg, total, 1)


def run(optimizer, scheduler, steps):
    """The learning rates that `steps` optimizer steps use; both groups agree."""
    rates = []
    for _ in range(steps):
        low, high = (group["lr"] for group in optimizer.param_groups)
        assert low == high
        rates.append(high)
        optimizer.step()
        scheduler.step()
    return rates


def test_polynomial_is_the_reference_formula():
    lr, w, T, power, lr_end = 0.1, 4, 20, 0.3, 1e-3
    cfg = PolynomialConfig("polynomial", warmup=w, power=power, lr_end=lr_end)

    def reference(s):
        if s < w:
            return lr * s / w
        if s <= T:
            return (lr - lr_end) * (1 - (s - w) / (T - w)) ** power + lr_end
        return lr_end

    assert run(*make(cfg, T, lr), 25) == pytest.approx([reference(s) for s in range(25)])


def test_cosine_falls_from_lr_to_lr_end():
    cfg = CosineConfig("cosine", warmup=2, lr_end=0.01)
    rates = run(*make(cfg, 12), 15)
    middle = 0.01 + 0.09 * (1 + math.cos(math.pi / 2)) / 2
    assert rates[:3] == pytest.approx([0, 0.05, 0.1])
    assert rates[7] == pytest.approx(middle)
    assert rates[12:] == pytest.approx([0.01] * 3)
    assert rates[2:13] == sorted(rates[2:13], reverse=True)


def test_constant_after_warmup():
    assert run(*make(WarmupConfig(warmup=2), 9), 5) == pytest.approx([0, 0.05, 0.1, 0.1, 0.1])
    assert run(*make(WarmupConfig(), 9), 3) == [0.1] * 3


def test_a_share_of_all_steps_warms_up_like_as_many_steps():
    for share, steps in ((0.25, 5), (0.1, 2), (0.0, 0), (0.01, 0)):
        shared, counted = (CosineConfig("cosine", warmup=w) for w in (share, steps))
        assert run(*make(shared, 20), 20) == run(*make(counted, 20), 20)
    for wrong in (1.0, 5.0, -0.1):
        with pytest.raises(ConfigError, match=r"scheduler.warmup=.*share of all steps, below 1"):
            CosineConfig("cosine", warmup=wrong)
    with pytest.raises(ConfigError, match=r"warmup=0.99: must be less than the run's 10 optimizer"):
        make(WarmupConfig(warmup=0.99), 10)


def test_onecycle_peaks_at_lr_and_leaves_betas_alone():
    optimizer, scheduler = make(OneCycleConfig("onecycle", pct_start=0.25), 40)
    rates = run(optimizer, scheduler, 40)
    assert max(rates) == pytest.approx(0.1) == rates[9]
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[-1] == pytest.approx(0.1 / 25 / 1e4)
    assert all(tuple(group["betas"]) == (0.9, 0.999) for group in optimizer.param_groups)


def test_every_optimizer_takes_every_schedule():
    for cfg in [*OPTIMIZER_CONFIGS, LBFGSConfig("lbfgs", 1e-2)]:
        for schedule in SCHEDULER_CONFIGS:
            optimizer = build_optimizer(nn.Linear(2, 2), cfg)
            scheduler = build_scheduler(optimizer, schedule, 10, 1)
            peak = 0.0
            for _ in range(10):
                peak = max(peak, optimizer.param_groups[-1]["lr"])
                scheduler.optimizer._opt_called = True  # a step without gradients
                scheduler.step()
            assert peak == pytest.approx(cfg.lr)


@pytest.mark.parametrize("cfg", SCHEDULER_CONFIGS, ids=lambda c: c.name)
@pytest.mark.parametrize("stop", [1, 7, 19])
def test_resume_gives_the_same_rates(cfg, stop):
    whole = run(*make(cfg, 20), 20)
    optimizer, scheduler = make(cfg, 20)
    first = run(optimizer, scheduler, stop)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    optimizer, scheduler = make(cfg, 20)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert first + run(optimizer, scheduler, 20 - stop) == whole


def test_impossible_schedules_are_refused():
    with pytest.raises(ConfigError, match=r"warmup=10: must be less than the run's 10 optimizer"):
        make(WarmupConfig(warmup=10), 10)
    with pytest.raises(ConfigError, match=r"scheduler.lr_end=0.2: must lie in \[0, optimizer.lr"):
        make(CosineConfig("cosine", lr_end=0.2), 10)
    with pytest.raises(ConfigError, match=r"did you mean 'cosine'"):
        make(SchedulerConfig("cosin"), 10)
