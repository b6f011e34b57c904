"""What holds for every registered model, at a small size."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import create_model, list_models, model_options

# Small values for the options that decide a model's size; a model takes those that it has.
SMALL = {"layer_sizes": 8, "width_scale": 0.25}


def small(name: str, **options: Any) -> Any:
    sizes: dict[str, Any] = {key: SMALL[key] for key in SMALL if key in model_options(name)}
    if "layer_sizes" in sizes:
        sizes["layer_sizes"] = [8] * len(model_options(name)["layer_sizes"].default)
    torch.manual_seed(0)
    return create_model(name, num_classes=5, input_channels=3, **sizes, **options)


def images(size: int = 32) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


every_model = pytest.mark.parametrize("name", list_models())


@every_model
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model = small(name)
    logits = model(images())
    assert logits.shape == (4, 5)
    logits.square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), f"{key} has a gradient that is not finite"


@every_model
def test_copies_and_saved_states_compute_the_same(name: str) -> None:
    model = small(name)
    model(images())  # moves the statistics of batch norms away from their start
    model.eval()
    torch.manual_seed(1)
    other = small(name).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = model(images())
        torch.testing.assert_close(copy.deepcopy(model)(images()), logits, rtol=0, atol=0)
        torch.testing.assert_close(other(images()), logits, rtol=0, atol=0)


@every_model
def test_prediction_does_not_depend_on_the_batch(name: str) -> None:
    model = small(name).double()  # in float32 the order of sums shows after eight layers
    model(images().double())
    model.eval()
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images().double()])
        torch.testing.assert_close(model(images().double()), alone, rtol=1e-9, atol=1e-9)


@every_model
def test_channels_last_images_give_the_same(name: str) -> None:
    model = small(name).double().eval()
    with torch.no_grad():
        last = model(images().double().to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, model(images().double()), rtol=1e-9, atol=1e-9)


@every_model
def test_fits_a_batch(name: str) -> None:
    calm = {"dropout_linear": 0.0, "noisy_gating": False}
    options = {key: value for key, value in calm.items() if key in model_options(name)}
    model, labels = small(name, **options), torch.arange(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses: list[float] = []
    while len(losses) < 100 and not (losses and losses[-1] < 0.5 * losses[0]):
        loss = nn.functional.cross_entropy(model(images(size=16)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@every_model
def test_no_weight_decay_names_the_learned_shapes(name: str) -> None:
    model = small(name)
    names = {key for key, _ in model.named_parameters()}
    shapes = {key for key in names if ".basis." in key}
    assert model.no_weight_decay() == shapes
    assert bool(shapes) == ("kagn" in name or name.endswith("relukan"))


@every_model
def test_options_are_documented_and_their_defaults_valid(name: str) -> None:
    for key, option in model_options(name).items():
        assert key == option.name and option.help
        assert option.check(option.default) == option.default
