"""optimizer.layer_decay: which layer learns how fast, who decays, at every step of a schedule."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from experiments.config.optim import (
    AdamWConfig,
    CosineConfig,
    LambConfig,
    LionConfig,
    OneCycleConfig,
    PolynomialConfig,
    SGDConfig,
    WarmupConfig,
)
from experiments.errors import ConfigError
from experiments.files import read_rows
from experiments.runs.ending import Result
from experiments.training.optim import build_optimizer, build_scheduler, decay_groups
from models import create_model

LR, DECAY = 0.1, 0.5
# The layer of every parameter, by how its name begins, and how many there are.
KAT = {"cls_token": 0, "pos_embed": 0, "patch_embed": 0, "blocks.0": 1, "blocks.1": 2, "norm": 2,
       "head": 3}  # fmt: skip
CONVOLUTIONS = {f"features.{i}": i for i in range(4)} | {"head": 4}
NETWORKS = {
    "kat": (
        {"image_size": 8, "patch_size": 4, "width": 16, "depth": 2, "heads": 2, "groups": 4},
        KAT,
    ),
    "kan_deit": ({"image_size": 8, "patch_size": 4, "width": 8, "depth": 2, "heads": 2}, KAT),
    "simple_conv_kagn": ({"layer_sizes": (4, 4, 8, 8)}, CONVOLUTIONS),
    "simple_conv": ({"layer_sizes": (4, 4, 8, 8)}, CONVOLUTIONS),
}
OPTIMIZERS = [
    AdamWConfig("adamw", LR, 0.05, DECAY),
    SGDConfig("sgd", LR, 0.05, DECAY),
    LionConfig("lion", LR, 0.05, DECAY),
    LambConfig("lamb", LR, 0.05, DECAY),
]


def small(name: str) -> nn.Module:
    return create_model(name, num_classes=5, input_channels=3, **NETWORKS[name][0])


def by_name(optimizer: torch.optim.Optimizer, model: nn.Module, key: str) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group[key] for group in optimizer.param_groups for p in group["params"]}


def expected(model: nn.Module, layers: dict[str, int]) -> dict[str, float]:
    """lr * decay^(depth - layer) for every parameter."""
    depth = max(layers.values())
    found = {}
    for name, _ in model.named_parameters():
        (layer,) = [n for start, n in layers.items() if f"{name}.".startswith(f"{start}.")]
        found[name] = LR * DECAY ** (depth - layer)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_learns_at_lr_times_decay_to_its_distance_from_the_head(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = small(name)
    with caplog.at_level(logging.WARNING):
        optimizer = build_optimizer(model, OPTIMIZERS[0])
    assert not caplog.records
    assert by_name(optimizer, model, "lr") == pytest.approx(expected(model, NETWORKS[name][1]))


@pytest.mark.parametrize("cfg", OPTIMIZERS, ids=lambda c: c.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_parameters_decay_as_without(name: str, cfg: AdamWConfig) -> None:
    model = small(name)
    optimizer = build_optimizer(model, cfg)
    plain = torch.optim.SGD(decay_groups(model, cfg.weight_decay), lr=LR)
    decays = by_name(plain, model, "weight_decay")
    assert by_name(optimizer, model, "weight_decay") == decays
    assert set(decays.values()) == {0.0, 0.05}
    rational = [name for name in decays if name.endswith(("numerator", "denominator"))]
    assert all(decays[name] == 0 for name in rational) and (rational or name != "kat")
    functions = [name for name in decays if name.endswith("basis_weight")]
    assert all(decays[name] == 0.05 for name in functions)


def test_a_bias_of_two_dimensions_does_not_decay() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(2, 2), nn.Linear(2, 2)
            self.first.bias = nn.Parameter(torch.ones(1, 2))

        def group_matcher(self, coarse: bool = False) -> dict[str, str]:
            return {"stem": "^first"}

    model = Net()
    found = by_name(build_optimizer(model, OPTIMIZERS[0]), model, "weight_decay")
    assert found["first.bias"] == 0 and found["first.weight"] == 0.05


@pytest.mark.parametrize("schedule", [
    WarmupConfig("constant", 3), PolynomialConfig("polynomial", 3), OneCycleConfig("onecycle"),
    CosineConfig("cosine", 3, lr_start=1e-3, lr_end=1e-2, cooldown=2),
], ids=lambda c: c.name)  # fmt: skip
def test_every_schedule_keeps_the_ratios_of_the_layers(schedule: WarmupConfig) -> None:
    model, reference = small("simple_conv"), nn.Linear(1, 1)
    optimizer, single = (
        build_optimizer(model, AdamWConfig("adamw", LR, layer_decay=DECAY)),
        build_optimizer(reference, AdamWConfig("adamw", LR)),
    )
    first, second = (build_scheduler(o, schedule, 20, 5) for o in (optimizer, single))
    scales = {key: value / LR for key, value in expected(model, CONVOLUTIONS).items()}
    for _ in range(21):
        rate = single.param_groups[0]["lr"]
        wanted = {key: rate * scale for key, scale in scales.items()}
        assert by_name(optimizer, model, "lr") == pytest.approx(wanted)
        for one, steps in ((optimizer, first), (single, second)):
            one.step()
            if steps.last_epoch < 20:
                steps.step()


def test_who_has_no_layers_is_told_what_to_type() -> None:
    with pytest.raises(ConfigError, match=r"layer_decay=0.5: Linear does not say which layers"):
        build_optimizer(nn.Linear(2, 2), OPTIMIZERS[0])

    class Single(nn.Linear):
        def group_matcher(self, coarse: bool = False) -> dict[str, str]:
            return {}

    with pytest.raises(ConfigError, match=r"Single is a single layer; type .*layer_decay=null"):
        build_optimizer(Single(2, 2), OPTIMIZERS[0])
    with pytest.raises(ConfigError, match=r"optimizer.layer_decay=0: must lie in \(0, 1\]"):
        AdamWConfig(layer_decay=0)


def test_a_run_tells_the_rate_of_the_head(tiny_run: Callable[..., Result]) -> None:
    done = tiny_run("optimizer.layer_decay=0.5", "optimizer.lr=0.0125")
    assert read_rows(done.run_dir / "metrics.jsonl")[0]["lr"] == 0.0125
