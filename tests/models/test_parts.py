"""What is frozen is not trained, and computes as in evaluation; the rest is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import create_model
from models.parts import freeze, head_names, learned_shapes, train_unfrozen


def conv(**options: object) -> nn.Module:
    sizes = {"layer_sizes": (4, 4, 8, 8), "dropout": 0.5}
    return create_model("simple_conv_kagn", num_classes=3, input_channels=1, **sizes, **options)


def stepped(model: nn.Module) -> set[str]:
    """The names of what a step of training changes, statistics among them."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    train_unfrozen(model)
    model(torch.randn(4, 1, 16, 16)).square().sum().backward()
    optimizer.step()
    return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def test_of_a_frozen_body_nothing_moves() -> None:
    model = conv()
    frozen = freeze(model, "body")
    assert frozen.numbers == sum(p.numel() for p in model.features.parameters())
    changed = stepped(model)
    assert changed and changed <= head_names(model)
    train_unfrozen(model)
    x = torch.randn(4, 1, 16, 16)
    assert torch.equal(model.features(x), model.features(x))  # no dropout
    assert model.training and model.head.training and not model.features.training


def test_frozen_bases_leave_all_else_to_training() -> None:
    model = conv()
    names = learned_shapes(model)
    assert len(names) == 5 and all(name.endswith("basis.beta") for name in names)
    assert freeze(model, "bases").names == tuple(sorted(names))
    assert set(model.state_dict()) - stepped(model) == names


def test_rational_functions_are_bases() -> None:
    sizes = {"image_size": 8, "patch_size": 4, "width": 16, "depth": 1, "heads": 2}
    kat = create_model("kat", num_classes=3, input_channels=1, **sizes)
    assert {name.rpartition(".")[2] for name in learned_shapes(kat)} == {"numerator", "denominator"}


def test_maps_have_a_head_too() -> None:
    model = create_model("unet", num_classes=2, input_channels=1)
    freeze(model, "body")
    assert {n for n, p in model.named_parameters() if p.requires_grad} <= head_names(model)


def test_what_is_not_there_cannot_be_frozen() -> None:
    plain = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"freeze=body: Sequential does not say .* get_classifier"):
        freeze(plain, "body")
    with pytest.raises(ValueError, match="freeze=bases: the functions of Sequential have no shape"):
        freeze(plain, "bases")
