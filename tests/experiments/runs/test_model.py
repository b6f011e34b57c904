"""A model runs once, as training does, before a run has a directory; it is then as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from experiments.config.compose import load_config
from experiments.errors import ConfigError, ResourceError
from experiments.runs.model import check_forward, check_sizes, make_model

FOUR = "model.layer_sizes=[4,4,8,8]"


@pytest.mark.parametrize("overrides, side, batch, words", [
    (["model=vgg"], 8, 32, ["8 x 8", "the smallest are 16x16", "\nType data.image_size=16, which"]),
    ([FOUR, "model.norm=instance"], 1, 32, ["Type data.image_size=8, which works or choose"]),
    ([FOUR], 1, 1, ["more than 1 value per channel", "use a larger trainer.batch_size"]),
])  # fmt: skip
def test_images_that_a_model_cannot_take_are_a_sentence(
    overrides: list[str], side: int, batch: int, words: list[str]
) -> None:
    config = load_config("cifar", overrides)
    with pytest.raises(ConfigError) as caught:
        check_forward(make_model(config, 10, 1), config, (1, side, side), batch)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["simple_conv_kagn", "simple_conv_moe_kagn_bn"])
def test_the_model_is_as_it_was(name: str) -> None:
    config = load_config("cifar", [f"model={name}", FOUR])
    model = make_model(config, 10, 1)
    model.eval()
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    check_forward(model, config, (1, 8, 8), 32)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(module.training for module in model.modules())
    assert not any(getattr(module, "_penalty", None) is not None for module in model.modules())


class Broken(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


def call(model: nn.Module, x: torch.Tensor) -> None:
    model(x)


KAT = ["model=kat", "model.patch_size=4", "model.width=16", "model.depth=1", "model.heads=2",
       "model.groups=4", "model.image_size=16"]  # fmt: skip
LARGE, SMALL = (1, 16, 16), (1, 12, 12)
FLAT = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))


@pytest.mark.parametrize("shapes, model, words", [
    ({"data.image_size": LARGE, "augment.size": SMALL}, None,
     ["12 x 12", "\nType augment.size=16, which works or choose another model"]),
    ({"data.image_size": LARGE, "augment.size": SMALL}, FLAT, ["\nType augment.size=16, which"]),
    ({"task.window": LARGE, "data.image_size": (1, 32, 32)}, None,
     ["32 x 32", "\nType augment.size=16, which works"]),
    ({"data.image_size": SMALL, "augment.size": LARGE}, None, ["12 x 12", "image_size=12"]),
])  # fmt: skip
def test_one_size_only_is_refused_where_training_and_evaluation_have_two(
    shapes: dict, model: nn.Module | None, words: list[str]
) -> None:
    config = load_config("cifar", KAT)
    model = make_model(config, 10, 1) if model is None else model
    with pytest.raises(ConfigError) as caught:
        check_sizes(model, config, shapes, 4, call)
    for word in words:
        assert word in str(caught.value)


def test_several_sizes_are_each_tried_once() -> None:
    config, seen = load_config("cifar", [FOUR]), []
    model = make_model(config, 10, 1)
    model.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    check_sizes(model, config, {"data.image_size": LARGE, "augment.size": SMALL}, 1, call)
    check_sizes(model, config, {"task.window": SMALL, "augment.size": SMALL}, 8, call)
    assert seen == [(2, *LARGE), (1, *SMALL), (2, *SMALL)]


def test_a_fault_of_the_model_itself_keeps_its_place() -> None:
    config = load_config("cifar", [])
    with pytest.raises(RuntimeError, match="mat1"):
        check_forward(Broken(RuntimeError("mat1 and mat2")), config, (1, 8, 8), 4)
    with pytest.raises(ResourceError, match="memory has run out"):
        check_forward(Broken(RuntimeError("can't allocate memory")), config, (1, 8, 8), 4)
