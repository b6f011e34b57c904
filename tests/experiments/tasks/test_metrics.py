"""Metrics against scikit-learn, in odd cases, in checkpoints and over two processes."""

import json
import sys
import textwrap

import numpy as np
import pytest
import torch
import torchmetrics.classification as tm
from sklearn import metrics as sk
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.errors import ConfigError
from experiments.tasks.metrics import ClassificationMetrics, check_monitor
from experiments.tasks.rows import TASKS, MetricsConfig
from tests import forks


def batch(n, C, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(C, (n,), generator=generator)
    logits = torch.randn(n, C, generator=generator)
    logits[torch.arange(n), targets] += 1
    return scale * logits, targets


def computed(logits, targets, C=None, **cfg):
    metrics = ClassificationMetrics(C or logits.shape[1], MetricsConfig(**cfg))
    metrics.update(logits, targets)
    return metrics.compute()


@pytest.mark.parametrize("C", [3, 10])
def test_equal_to_scikit_learn(C):
    logits, targets = batch(200, C)
    p, y, guess = logits.double().softmax(1).numpy(), targets.numpy(), logits.argmax(1).numpy()
    expected = {
        "accuracy": sk.accuracy_score(y, guess),
        "recall_macro": sk.recall_score(y, guess, average="macro"),
        "recall_micro": sk.recall_score(y, guess, average="micro"),
        "f1_macro": sk.f1_score(y, guess, average="macro"),
        "f1_micro": sk.f1_score(y, guess, average="micro"),
        "auc_ovr": sk.roc_auc_score(y, p, multi_class="ovr"),
        "auc_ovo": sk.roc_auc_score(y, p, multi_class="ovo"),
    }
    if C > 5:
        expected["top5_accuracy"] = sk.top_k_accuracy_score(y, p, k=5)
    metrics = ClassificationMetrics(C, MetricsConfig())
    for rows in torch.arange(200).split(64):  # uneven batches
        metrics.update(logits[rows], targets[rows])
    assert metrics.compute() == pytest.approx(expected, abs=1e-6)
    assert metrics.confusion_matrix().tolist() == sk.confusion_matrix(y, guess).tolist()


@pytest.mark.parametrize("C", [2, 7, 23])
def test_equal_to_what_torchmetrics_counts_by_a_matrix(C):
    """Also with classes that are absent, never guessed or both, and with ties."""
    logits, targets = batch(120, C)
    logits[:, 1], targets[targets == C - 1] = -9, 0
    logits[:40] = logits[:40].round()
    kwargs = {"num_classes": C, "validate_args": False}
    wanted = {
        "accuracy": tm.MulticlassAccuracy(average="micro", **kwargs),
        "top5_accuracy": tm.MulticlassAccuracy(average="micro", top_k=min(5, C), **kwargs),
    }
    for average in ("macro", "micro"):
        wanted[f"recall_{average}"] = tm.MulticlassRecall(average=average, **kwargs)
        wanted[f"f1_{average}"] = tm.MulticlassF1Score(average=average, **kwargs)
    metrics = ClassificationMetrics(C, MetricsConfig(auc_max_classes=0))
    for rows in torch.arange(120).split(50):
        metrics.update(logits[rows], targets[rows])
        for metric in wanted.values():
            metric.update(logits[rows], targets[rows])
    values = metrics.compute()
    assert set(values) >= set(wanted) - {"top5_accuracy"}
    assert values == {name: float(wanted[name].compute()) for name in values}


def test_an_update_costs_no_pairs_of_classes():
    """Three (C, C) matrices took 7 s and 2.4 GB per batch of 10,000 classes."""
    logits, targets = batch(8, 3000)
    metrics = ClassificationMetrics(3000, MetricsConfig())
    with Operators() as operators:
        metrics.update(logits, targets)
    assert operators.numel <= 8 * 3000
    assert metrics.confusion_matrix() is None


def test_two_classes():
    logits, targets = batch(50, 2)
    values = computed(logits, targets)
    auc = sk.roc_auc_score(targets, logits.double().softmax(1)[:, 1])
    assert values["auc_ovr"] == pytest.approx(auc) == values["auc_ovo"]
    assert "top5_accuracy" not in values


def test_absent_classes_are_left_out_of_the_means():
    logits, targets = batch(90, 6)
    kept = (targets != 2) & (targets != 5)
    logits, targets = logits[kept], targets[kept]
    values = computed(logits, targets)
    present, p = [0, 1, 3, 4], logits.double().softmax(1).numpy()
    ovr = np.mean([sk.roc_auc_score(targets.numpy() == c, p[:, c]) for c in present])
    ovo = sk.roc_auc_score(targets.numpy(), p, multi_class="ovo", labels=range(6))
    assert values["auc_ovr"] == pytest.approx(ovr)
    assert values["auc_ovo"] == pytest.approx(ovo)
    assert all(np.isfinite(value) for value in values.values())


def test_ties_count_half():
    logits = torch.zeros(8, 3)
    values = computed(logits, torch.arange(8) % 3)
    assert values["auc_ovr"] == values["auc_ovo"] == 0.5


@pytest.mark.parametrize("case", ["one class", "no sample", "not finite", "too many classes"])
def test_auc_is_left_out(case):
    logits, targets = batch(20, 4)
    limit = 100
    if case == "one class":
        targets = torch.full_like(targets, 3)
    elif case == "no sample":
        logits, targets = logits[:0], targets[:0]
    elif case == "not finite":
        logits[3, 1] = torch.nan
    else:
        limit = 3
    values = computed(logits, targets, auc_max_classes=limit)
    assert "auc_ovr" not in values and "auc_ovo" not in values
    assert all(np.isfinite(value) for value in values.values())


def test_soft_targets_and_half_precision():
    logits, targets = batch(30, 4)
    soft = 0.7 * torch.nn.functional.one_hot(targets, 4) + 0.3 / 4
    assert computed(logits, soft) == computed(logits, targets)
    half = logits.bfloat16()
    assert computed(half, targets) == computed(half.float(), targets)


def test_reset_forgets():
    metrics = ClassificationMetrics(3, MetricsConfig())
    metrics.update(*batch(20, 3))
    metrics.compute()
    metrics.reset()
    logits, targets = batch(10, 3, seed=1)
    metrics.update(logits, targets)
    assert metrics.compute() == computed(logits, targets)
    assert metrics.confusion_matrix().sum() == 10


class Operators(TorchDispatchMode):
    """Counts operators, and keeps the size of the largest tensor that they return."""

    count = numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_deterministic_mode_costs_no_memory():
    """In that mode torchmetrics would compare every sample with all C^2 pairs of classes."""

    metrics = ClassificationMetrics(50, MetricsConfig())
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with Operators() as operators:
            metrics.update(*batch(16, 50))
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert operators.numel == 50**2


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="num_classes=1"):
        ClassificationMetrics(1, MetricsConfig())


def cost_of_metrics(C):
    """Calls and operators of metrics for C classes, which no load of the machine changes."""
    n, calls = 1000, 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    metrics = ClassificationMetrics(C, MetricsConfig())
    metrics.update(*batch(n, C))
    with Operators() as operators:
        metrics.compute()
    assert operators.numel <= n * C
    metrics.update(*batch(n, C))  # else the result would be remembered
    sys.setprofile(count)
    try:
        metrics.compute()
    finally:
        sys.setprofile(None)
    return calls + operators.count


def test_the_cost_is_that_of_the_classes_and_not_of_their_pairs():
    """scikit-learn's loop over the pairs of 100 classes takes 15 s."""
    assert cost_of_metrics(100) < 3 * cost_of_metrics(50)


SCRIPT = """
    import json, sys, torch
    from experiments.tasks.metrics import ClassificationMetrics
    from experiments.tasks.rows import TASKS, MetricsConfig

    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    logits, targets = torch.load(sys.argv[1])
    # rank 0 has 23 samples, rank 1 has 7; in a second round rank 1 has none at all
    results = []
    metrics = ClassificationMetrics(7, MetricsConfig())
    for mine in (slice(0, 23) if rank == 0 else slice(23, 30), slice(0, 30 * (1 - rank))):
        metrics.reset()
        if len(targets[mine]):
            metrics.update(logits[mine], targets[mine])
        results.append([metrics.compute(), metrics.confusion_matrix().tolist()])
    with open(f"{sys.argv[2]}/{rank}.json", "w") as file:
        json.dump(results, file)
    torch.distributed.destroy_process_group()
"""


def test_two_processes_see_all_samples(tmp_path):
    logits, targets = batch(30, 7)
    data = tmp_path / "data.pt"
    torch.save((logits, targets), data)
    script = textwrap.dedent(SCRIPT)
    for result in forks.run("-c", script, str(data), str(tmp_path), processes=2):
        assert result.returncode == 0, result.stderr
    guess = logits.argmax(1)
    expected = computed(logits, targets)
    matrix = sk.confusion_matrix(targets, guess, labels=range(7)).tolist()
    for rank in (0, 1):
        for values, counts in json.loads((tmp_path / f"{rank}.json").read_text()):
            assert values == pytest.approx(expected)
            assert counts == matrix


@pytest.mark.parametrize(
    ("monitor", "num_classes", "words"),
    [("top5_accuracy", 5, "the data has 5"), ("auc_ovr", 101, "metrics.auc_max_classes=101")],
)
def test_a_monitor_that_cannot_exist_is_refused(monitor, num_classes, words):
    with pytest.raises(ConfigError, match=words):
        check_monitor(monitor, num_classes, MetricsConfig())
    check_monitor(monitor, 10, MetricsConfig())


def test_every_monitor_is_a_metric():
    monitors = {figure.name for figure in TASKS["classification"].monitors}
    assert monitors == {*computed(*batch(50, 10)), "loss"}
