"""Losses and penalties of a training step: values, and gradients to the analytic amount."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conv_kan.layers import KANConv, KANLinear, MixtureOfExperts
from experiments.config.compose import load_config
from experiments.config.losses import PenaltyConfig
from experiments.errors import ConfigError
from experiments.tasks.base import Task


class CrossEntropy(Task):
    """The least of a task."""

    def recipe(self, training):
        raise NotImplementedError

    def metrics(self, device):
        raise NotImplementedError

    def criterion(self, outputs, targets):
        return F.cross_entropy(outputs, targets)


def make_task(model, penalty):
    config = load_config("cifar")
    config.penalty = penalty
    task = CrossEntropy(config, None)
    task.attach(model)
    return task


class Net(nn.Module):
    """Two KAN layers and one that is none; no norm, so that samples do not depend on each other."""

    def __init__(self):
        super().__init__()
        self.conv = KANConv(2, 4, 3, norm=None)
        self.plain = nn.Linear(4, 6)
        self.head = KANLinear(6, 3, norm=None, activation=None)

    def forward(self, x):
        return self.head(self.plain(self.conv(x).mean((2, 3))))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.narrow(x), self.wide(x)


@pytest.fixture
def setup():
    torch.manual_seed(0)
    images, targets = torch.randn(8, 2, 5, 5), torch.arange(8) % 3
    return Net(), images, targets


def gradients(model, loss):
    return dict(
        zip(
            [name for name, _ in model.named_parameters()],
            torch.autograd.grad(loss, list(model.parameters()), allow_unused=True),
            strict=True,
        )
    )


def activations(model, images):
    """Outputs of the two KAN layers, computed by hand."""
    first = model.conv(images)
    return first, model.head(model.plain(first.mean((2, 3))))


def penalty_of(key, model, images):
    """The documented formula of each penalty, written out."""
    if key == "l1_decay":
        layers = (model.conv, model.head)
        return sum(w.abs().sum() for m in layers for w in (m.base_weight, m.basis_weight))
    power = 1 if key == "activation_l1" else 2
    return sum((y.abs() ** power).mean() for y in activations(model, images))


@pytest.mark.parametrize("key", ["l1_decay", "activation_l1", "activation_l2"])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_penalty_changes_gradients_by_the_analytic_amount(setup, key, parts):
    """Also under accumulation: the penalty acts once per optimizer step, not once per part."""
    model, images, targets = setup
    task = make_task(model, PenaltyConfig(**{key: 0.3}))
    for x, y in zip(images.chunk(parts), targets.chunk(parts), strict=True):
        loss, _, _ = task.training_loss(model, x, y)
        (loss / parts).backward()
    task.close()
    plain = gradients(model, F.cross_entropy(model(images), targets))
    change = gradients(model, 0.3 * penalty_of(key, model, images))
    assert any(value is not None and value.abs().max() > 1e-4 for value in change.values())
    for name, parameter in model.named_parameters():
        expected = plain[name] + (0 if change[name] is None else change[name])
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_weight_penalty_is_the_sign_of_kan_weights_alone(setup):
    model, images, targets = setup
    task = make_task(model, PenaltyConfig(l1_decay=0.3))
    penalised = gradients(model, task.training_loss(model, images, targets)[0])
    plain = gradients(model, F.cross_entropy(model(images), targets))
    for name, parameter in model.named_parameters():
        is_kan_weight = name.endswith(("base_weight", "basis_weight"))
        expected = 0.3 * parameter.sign() if is_kan_weight else torch.zeros_like(parameter)
        torch.testing.assert_close(penalised[name] - plain[name], expected, rtol=1e-4, atol=1e-6)


def test_logs_hold_each_term_and_sum_to_the_loss(setup):
    model, images, targets = setup
    factors = {"l1_decay": 0.1, "activation_l1": 0.2, "activation_l2": 0.3}
    task = make_task(model, PenaltyConfig(**factors))
    loss, logits, logs = task.training_loss(model, images, targets)
    torch.testing.assert_close(logs["criterion"], F.cross_entropy(logits, targets))
    for key, factor in factors.items():
        torch.testing.assert_close(logs[key], factor * penalty_of(key, model, images).detach())
    terms = [value for key, value in logs.items() if key != "loss"]
    torch.testing.assert_close(logs["loss"], torch.stack(terms).sum())
    assert not any(value.requires_grad for value in [logits, *logs.values()])
    assert loss.requires_grad


def test_factors_of_zero_cost_nothing(setup):
    model, images, targets = setup
    task = make_task(model, PenaltyConfig())
    assert not any(module._forward_hooks for module in model.modules())
    loss, _, logs = task.training_loss(model, images, targets)
    assert list(logs) == ["loss"]
    torch.testing.assert_close(loss, F.cross_entropy(model(images), targets))


def test_evaluation_has_no_penalty_and_leaves_none_behind(setup):
    model, images, targets = setup
    factors = PenaltyConfig(l1_decay=1.0, activation_l1=1.0)
    task = make_task(model, factors)
    before = task.training_loss(model, images, targets)[0]
    with torch.no_grad():
        loss, logits = task.evaluation_loss(model, images, targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets))
    torch.testing.assert_close(task.training_loss(model, images, targets)[0], before)


def test_close_removes_the_hooks(setup):
    model, _, _ = setup
    task = make_task(model, PenaltyConfig(activation_l1=1.0))
    assert any(module._forward_hooks for module in model.modules())
    task.close()
    assert not any(module._forward_hooks for module in model.modules())


def test_several_outputs_share_the_loss_and_the_last_one_counts():
    model, x, targets = TwoHeads(), torch.randn(6, 4), torch.arange(6) % 3
    task = make_task(model, PenaltyConfig())
    loss, logits, _ = task.training_loss(model, x, targets)
    narrow, wide = model(x)
    expected = (F.cross_entropy(narrow, targets) + F.cross_entropy(wide, targets)) / 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, wide.detach())


def test_the_wrapped_model_is_the_one_called(setup):
    model, images, targets = setup
    task = make_task(model, PenaltyConfig(activation_l2=0.5))
    calls = []

    def wrapped(x):
        calls.append(x)
        return model(x)

    loss, _, logs = task.training_loss(wrapped, images, targets)
    assert len(calls) == 1
    torch.testing.assert_close(loss, logs["criterion"] + logs["activation_l2"])


def test_penalties_without_kan_layers_are_refused():
    with pytest.raises(
        ConfigError, match=r"penalty.activation_l1=0.5: acts on KAN layers, and Two"
    ):
        make_task(TwoHeads(), PenaltyConfig(activation_l1=0.5))


class Mixed(nn.Module):
    """A mixture of experts, and nothing to penalize beside it."""

    def __init__(self):
        super().__init__()
        experts = {"expert": lambda: nn.Conv2d(2, 3, 3), "num_experts": 4, "k": 2}
        self.mixture = MixtureOfExperts(2, **experts)

    def forward(self, x):
        return self.mixture(x).mean((2, 3))


def test_the_balance_of_experts_is_part_of_the_loss(setup):
    _, images, targets = setup
    model = Mixed()
    model.mixture.gate_weight.data.mul_(30)  # an unequal load

    def loss_and_gradient(factor):
        task = make_task(model, PenaltyConfig(load_balance=factor))
        torch.manual_seed(3)
        loss, _, logs = task.training_loss(model, images, targets)
        (gradient,) = torch.autograd.grad(loss, model.mixture.gate_weight)
        return loss.detach(), gradient, logs

    bare, gradient, logs = loss_and_gradient(0.0)
    assert "load_balance" not in logs
    total, with_balance, logs = loss_and_gradient(0.5)
    torch.manual_seed(3)
    model(images)
    balance = 0.5 * model.mixture.penalty().detach()
    torch.testing.assert_close(logs["load_balance"], balance)
    torch.testing.assert_close(total, bare + balance)
    assert (with_balance - gradient).abs().max() > 1e-4


def test_balance_costs_nothing_without_experts(setup):
    model, images, targets = setup
    task = make_task(model, PenaltyConfig())
    _, _, logs = task.training_loss(model, images, targets)
    assert set(logs) == {"loss"}
