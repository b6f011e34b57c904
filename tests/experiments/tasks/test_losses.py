"""Losses against their formulas, for integer and soft targets."""

import numpy as np
import pytest
import timm.loss
import torch
from timm.data.mixup import Mixup
from torch.nn import functional as F

from experiments.config.losses import BCEConfig, FocalConfig, LossConfig
from experiments.errors import ConfigError
from experiments.tasks.class_weights import class_weights
from experiments.tasks.losses import build_loss

C = 5
CONFIGS = [LossConfig(), BCEConfig("bce"), FocalConfig("focal")]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, C, generator=generator, dtype=torch.float64)
    targets = torch.randint(C, (7,), generator=generator)
    soft = torch.rand(7, C, generator=generator, dtype=torch.float64).softmax(1)
    return logits.requires_grad_(), targets, soft


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: c.name)
def test_integer_targets_equal_their_onehot(batch, cfg, smoothing):
    logits, targets, _ = batch
    cfg = type(cfg)(cfg.name, smoothing)
    loss = build_loss(cfg, C)
    hard, onehot = loss(logits, targets), loss(logits, F.one_hot(targets, C).double())
    torch.testing.assert_close(hard, onehot)
    assert hard.shape == ()


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: c.name)
def test_smoothing_mixes_in_the_uniform_distribution(batch, cfg):
    logits, _, soft = batch
    smoothed = build_loss(type(cfg)(cfg.name, 0.2), C)(logits, soft)
    torch.testing.assert_close(smoothed, build_loss(cfg, C)(logits, 0.8 * soft + 0.2 / C))


def test_focal_equals_the_formula_for_integer_targets(batch):
    logits, targets, _ = batch
    alpha = [0.5, 1.0, 2.0, 0.5, 1.0]  # of mean 1
    loss = build_loss(FocalConfig("focal", gamma=2.0, class_weights=alpha), C)(logits, targets)
    p_t = logits.softmax(1).gather(1, targets[:, None])[:, 0]
    expected = ((1 - p_t) ** 2 * -torch.tensor(alpha)[targets] * p_t.log()).mean()
    torch.testing.assert_close(loss, expected)


def test_focal_without_focus_is_cross_entropy(batch):
    logits, _, soft = batch
    focal = build_loss(FocalConfig("focal", 0.1, gamma=0.0), C)(logits, soft)
    torch.testing.assert_close(focal, F.cross_entropy(logits, soft, label_smoothing=0.1))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5])
def test_focal_gradient_is_right_and_finite_at_certainty(batch, gamma):
    logits, targets, soft = batch
    loss = build_loss(FocalConfig("focal", 0.1, gamma=gamma), C).double()
    assert torch.autograd.gradcheck(lambda x: loss(x, soft), (logits,))
    certain = (200.0 * F.one_hot(targets, C)).requires_grad_()
    loss = build_loss(FocalConfig("focal", gamma=gamma), C)(certain, targets)
    loss.backward()
    assert loss.item() == 0
    assert certain.grad.isfinite().all()


def test_bce_equals_torch(batch):
    logits, targets, _ = batch
    expected = F.binary_cross_entropy_with_logits(logits, F.one_hot(targets, C).double())
    torch.testing.assert_close(build_loss(BCEConfig("bce"), C)(logits, targets), expected)


@pytest.mark.parametrize("cfg, theirs", [
    (LossConfig("cross_entropy", 0.1), timm.loss.SoftTargetCrossEntropy()),
    (BCEConfig("bce", 0.1), timm.loss.BinaryCrossEntropy(0.1)),
    (BCEConfig("bce", threshold=0.0), timm.loss.BinaryCrossEntropy(0.0, 0.0)),
    (BCEConfig("bce", threshold=0.2), timm.loss.BinaryCrossEntropy(0.0, 0.2)),
])  # fmt: skip
def test_mixed_and_smoothed_is_timms_loss_of_timms_mixup(batch, cfg, theirs):
    """Their Mixup smooths before it mixes, our losses behind."""
    logits, targets, _ = batch
    logits, targets = logits[:6], targets[:6]
    shares, softened = (mixed(targets, smoothing) for smoothing in (0.0, cfg.label_smoothing))
    assert (shares.max(1).values < 1).any()
    torch.testing.assert_close(build_loss(cfg, C)(logits, shares), theirs(logits, softened))


def mixed(targets, smoothing):
    """What timm's Mixup makes of targets, with the same images and shares at every call."""
    np.random.seed(3)
    mixup = Mixup(mixup_alpha=0.8, mode="elem", label_smoothing=smoothing, num_classes=C)
    return mixup(torch.zeros(len(targets), 1, 4, 4), targets)[1].double()


@pytest.mark.parametrize("cfg", CONFIGS[1:], ids=lambda c: c.name)
def test_half_precision_logits_are_computed_in_float32(batch, cfg):
    logits, targets, _ = batch
    low = logits.detach().bfloat16()
    loss = build_loss(cfg, C)
    assert loss(low, targets).dtype == torch.float32
    torch.testing.assert_close(loss(low, targets), loss(low.float(), targets))


def test_refusals():
    with pytest.raises(ConfigError, match=r"loss.class_weights has 2 weights.*there are 5"):
        build_loss(FocalConfig("focal", class_weights=[1.0, 2.0]), C)
    with pytest.raises(ConfigError, match="did you mean 'focal'"):
        build_loss(LossConfig("fokal"), C)
    with pytest.raises(ConfigError, match="fields of FocalConfig"):
        build_loss(LossConfig("focal"), C)
    with pytest.raises(ConfigError, match="fields of BCEConfig; choose loss=bce"):
        build_loss(LossConfig("bce"), C)
    with pytest.raises(ConfigError, match=r"loss.threshold=0.2: .*type loss.label_smoothing=0"):
        BCEConfig("bce", 0.1, threshold=0.2)


WEIGHTS = [0.5, 1.0, 2.0, 0.5, 1.0]  # of mean 1


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: c.name)
def test_weighted_losses_are_means_of_what_each_class_adds(batch, cfg):
    """Against sums over classes of weights and terms, for integer, soft and smoothed targets."""
    logits, targets, soft = batch
    weighted = build_loss(type(cfg)(cfg.name, 0.1, [2 * w for w in WEIGHTS]), C)
    w = torch.tensor(WEIGHTS, dtype=torch.float64)
    for t in (F.one_hot(targets, C).double(), soft):
        smooth = 0.9 * t + 0.1 / C
        if cfg.name == "bce":
            terms = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none") / C
        else:
            p = logits.softmax(1)
            terms = smooth * -p.log() * ((1 - p) ** 1.5 if cfg.name == "focal" else 1)
        torch.testing.assert_close(weighted(logits, t), (terms * w).sum(1).mean())
    halves = [weighted(logits[:6][half], targets[:6][half]) for half in (slice(3), slice(3, 6))]
    torch.testing.assert_close(weighted(logits[:6], targets[:6]), sum(halves) / 2)


def test_balanced_weights_make_classes_equal():
    counts = torch.tensor([1, 2, 4, 0])
    weights = class_weights("balanced", 4, lambda: counts)
    assert float(weights.mean()) == pytest.approx(1)
    torch.testing.assert_close(weights * counts, weights[0] * torch.tensor([1.0, 1, 1, 0]))
