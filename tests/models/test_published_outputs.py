"""The logits of published networks from the same weights (tests/golden/models.json).

The file holds, of every network: its arguments, the published keys and shapes of its weights, and
the logits of one batch. Weights are drawn from their keys, so none are stored.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from conv_kan.interop import export_published, load_published
from conv_kan.interop.plan import without_wrappers
from models import create_model

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "models.json").read_text())
FOUR, EIGHT = {"layer_sizes": [8, 16, 16, 32]}, {"layer_sizes": [8, 8, 16, 16, 16, 16, 32, 32]}
PUBLISHED_VGG = {"norm": "instance", "feature_shape": (1, 1)}
# Published factory -> our model and options.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "SimpleConvKAGN": ("simple_conv_kagn", FOUR),
    "EightSimpleConvKAGN": ("eight_simple_conv_kagn", EIGHT),
    "SimpleConvKAN": ("simple_conv_kan", FOUR),
    "SimpleConvKACN": ("simple_conv_kacn", FOUR),
    "SimpleConvKALN": ("simple_conv_kaln", {**FOUR, "squash": "minmax"}),
    "SimpleFastConvKAN": ("simple_conv_fastkan", FOUR),
    "vggkagn": (
        "vggkagn",
        {"vgg_type": "VGG11v4", "width_scale": 2, "degree": 5, "affine": True, **PUBLISHED_VGG},
    ),
    "vggkagn_bn": (
        "vggkagn_bn",
        {"vgg_type": "VGG11v4", "width_scale": 2, "degree": 5, "affine": True},
    ),
    "vggkan": ("vggkan", {"affine": False, **PUBLISHED_VGG}),
}
# Our paths -> the published ones.
NAMES = {"Simple": {"features": "layers", "head.1": "output"}, "vgg": {"head": "classifier"}}


def draw(key: str, shape: list[int]) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    t = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("running_var"):
        return 1 + 0.1 * t.abs()
    if key.endswith("running_mean"):
        return 0.1 * t
    if t.ndim >= 2:
        return t / t[0].numel() ** 0.5
    return 0.1 * t + (1 if key.endswith("weight") else 0)


@pytest.mark.parametrize("factory", GOLDEN)
def test_logits_of_published_weights(factory: str) -> None:
    golden, (name, options) = GOLDEN[factory], MODELS[factory]
    model = create_model(name, num_classes=10, input_channels=3, scale="none", **options).eval()
    names = NAMES["vgg" if "vgg" in factory else "Simple"]
    state = {key: draw(key, shape) for key, shape in golden["state"].items()}
    load_published(model, state, names=names)
    exported = export_published(model, names=names)
    assert all(torch.equal(exported[without_wrappers(key)], state[key]) for key in state)
    seed = torch.Generator().manual_seed(golden["input_seed"])
    with torch.no_grad():
        logits = model(torch.randn(golden["input_shape"], generator=seed)).flatten()
    first = torch.tensor(golden["outputs"]["first"])
    error = (logits[: len(first)] - first).abs().max() / first.abs().max()
    assert error < 1e-5
    assert logits.abs().sum().item() == pytest.approx(golden["outputs"]["abs_sum"], rel=1e-5)
