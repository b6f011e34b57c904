"""What transformers are trained with acts on a run of one, each option by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.app import run
from experiments.config.compose import load_config
from experiments.errors import ConfigError
from experiments.runs.ending import Result
from experiments.training.tensor_files import read_tensors
from models import create_model
from models.entry import Entry
from models.registry import _MODELS

KAT = [
    "data=digits", "data.image_size=8", "augment=none", "scheduler=constant", "model=kat",
    "model.image_size=8",
    "model.patch_size=4", "model.width=16", "model.depth=2", "model.heads=2", "model.groups=4",
    "trainer.batch_size=16", "trainer.epochs=1", "trainer.limit_steps=3", "trainer.progress=false",
    "trainer.test=false", "trainer.cpu=true", "data.train_size=64", "name=run",
]  # fmt: skip
Train = Callable[..., Result]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """train("key=value", ...) runs the small transformer, the same options once."""
    done: dict[tuple[str, ...], Result] = {}

    def go(*overrides: str) -> Result:
        if overrides not in done:
            folder = tmp_path_factory.mktemp("runs")
            done[overrides] = run(load_config("cifar", [*KAT, f"runs_dir={folder}", *overrides]))
        return done[overrides]

    return go


def weights(result: Result, step: int = 3, name: str = "model") -> dict[str, Tensor]:
    return read_tensors(result.run_dir / f"checkpoints/step-{step:08d}/{name}.safetensors")


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in a)


def test_blocks_that_are_computed_again_change_no_bit(train: Train) -> None:
    dropped = ("model.drop_path=0.5", "model.dropout=0.2")
    again = train(*dropped, "model.grad_checkpointing=true")
    assert largest_difference(weights(train(*dropped)), weights(again)) == 0


def test_micro_batches_are_the_batch(train: Train) -> None:
    plain = "optimizer=sgd", "optimizer.lr=0.01"
    divided = train(*plain, "trainer.accumulation=4")
    assert largest_difference(weights(train(*plain)), weights(divided)) < 1e-5


@pytest.mark.parametrize("option", [
    "model.drop_path=0.5", "model.dropout_attention=0.5", "trainer.max_grad_norm=1e-3",
    "augment.mixup=0.8", "loss.label_smoothing=0.1", "optimizer.layer_decay=0.5", "loss=bce",
])  # fmt: skip
def test_what_acts_in_training_changes_the_weights(train: Train, option: str) -> None:
    plain = "optimizer=sgd", "optimizer.lr=0.1"
    assert largest_difference(weights(train(*plain)), weights(train(*plain, option))) > 1e-6


def test_layer_scale_starts_at_its_value(train: Train) -> None:
    found = weights(train("model.layer_scale=0.125", "optimizer.lr=1e-9"))
    scales = [key for key in found if key.endswith("gamma")]
    assert len(scales) == 4
    for key in scales:
        torch.testing.assert_close(found[key], torch.full((16,), 0.125), atol=1e-6, rtol=0)


def test_a_run_begins_with_trained_weights(train: Train, tmp_path: Path) -> None:
    sizes = {"image_size": 8, "patch_size": 4, "width": 16, "depth": 2, "heads": 2}
    vit = create_model("vit", num_classes=7, input_channels=1, **sizes)
    file = tmp_path / "vit.safetensors"
    save_file(vit.state_dict(), file)
    found = weights(train(f"model.weights={file}", "optimizer.lr=1e-9"))
    shared = [key for key in found if "act" not in key and not key.startswith("head")]
    assert len(shared) > 20
    trained = vit.state_dict()
    assert largest_difference({key: trained[key] for key in shared}, found) < 1e-6
    drawn = weights(train("optimizer.lr=1e-9"))
    assert largest_difference({"head.weight": drawn["head.weight"]}, found) < 1e-6
    assert largest_difference({key: drawn[key] for key in shared}, found) > 1e-3


def test_weights_that_cannot_be_had_are_refused(train: Train) -> None:
    with pytest.raises(
        ConfigError, match=r"weights=no.npz: no.npz is no file and no folder; give a run"
    ):
        train("model.weights=no.npz")


def test_a_checkpoint_counts_where_both_are_given(train: Train) -> None:
    parent = train("trainer.epochs=1").run_dir
    options = ("trainer.epochs=2", f"trainer.start_from={parent}", "model.weights=no.npz")
    assert train(*options).run_dir != parent


class Half(nn.Module):
    """A network whose weights are bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1).to(self.linear.weight.dtype)).float()


@pytest.mark.parametrize("half", [False, True])
def test_the_moving_average_is_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    """Of float32 weights that are trained in bfloat16, and of bfloat16 weights."""
    monkeypatch.setitem(_MODELS, "half", Entry("half", lambda **_: Half(), ()))
    kat = [option for option in KAT if not (half and option.startswith("model"))]
    decay, options = (
        0.5,
        ["trainer.checkpoint_steps=1", "trainer.keep_last=9", "trainer.limit_steps=5"],
    )
    options += ["model=half", "trainer.precision=no"] if half else ["trainer.precision=bf16"]
    options += ["data.train_size=128", f"trainer.ema_decay={decay}", f"runs_dir={tmp_path}"]
    result = run(load_config("cifar", [*kat, *options]))
    average = {key: value.double() for key, value in weights(result, 2).items()}  # timm's start
    for step in (3, 4, 5):
        for key, value in weights(result, step).items():
            average[key] = decay * average[key] + (1 - decay) * value.double()
    found = weights(result, 5, "ema")
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert largest_difference(average, found) < 1e-6  # bfloat16 would be 1e-3 away
    assert {value.dtype for value in weights(result, 5).values()} == {
        torch.bfloat16 if half else torch.float32
    }
