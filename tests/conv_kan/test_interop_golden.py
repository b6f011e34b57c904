"""Every golden file of the published layers, loaded, computed and written back."""

import pytest
import torch
from goldens import GOLDEN, assert_same, part, read

from conv_kan import published
from conv_kan.interop import export_published, load_published, published_names

FILES = [
    path
    for folder in ("conv", "linear", "rational", "mlp")
    for path in sorted((GOLDEN / folder).glob("*.safetensors"))
]
# Gradients that pass a batch norm over three samples, in which the published float32 itself is 1e-4
# from float64; those of the biases before it are 0 but for rounding.
ROUNDED = {"torchkan.KANvolver": 5e-5}


def make_golden(meta):
    """The layer of a golden file, its defects included."""
    legacy = {"legacy": True} if meta["cls"].startswith(("KALN", "KAL_", "KAC_")) else {}
    return published.get_published(meta["cls"])(*meta["args"], **meta["kwargs"], **legacy)


def assert_close(found, wanted, tolerance, name, least=0.0):
    """Relative to the norm, and entry by entry to the largest one (at least `least`)."""
    for size in (torch.linalg.vector_norm, lambda t: t.abs().max()):
        error = size(found - wanted) / size(wanted).clamp(min=least)
        assert error < tolerance, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:an instance norm")
def test_golden_values_and_round_trip(path, backend):
    tensors, meta = read(path)
    layer, state = make_golden(meta), part(tensors, "state.")
    for module in layer.modules():
        if hasattr(module, "backend"):
            module.backend = backend
    assert load_published(layer, state) == ([], [])
    assert_same(export_published(layer), state)
    tolerance = 1e-4 if any(name in path.stem for name in ("FastKAN", "WavKAN")) else 1e-5
    x = tensors["x"].requires_grad_()
    y = layer(x)
    y.backward(tensors["grad_y"])
    assert_close(y, tensors["y"], tolerance, "y")
    tolerance = ROUNDED.get(path.stem, tolerance)
    assert_close(x.grad, tensors["grad_x"], tolerance, "grad_x")
    own = {name: p.grad for name, p in layer.named_parameters() if p.requires_grad}
    grads, wanted = published_names(layer, own), part(tensors, "grad.")
    assert set(grads) == set(wanted)
    for key, grad in grads.items():
        before_a_norm = path.stem in ROUNDED and key.endswith("weights.0.bias")
        least = wanted[key.replace("bias", "weight")].norm() if before_a_norm else 0.0
        assert_close(grad, wanted[key], tolerance, key, least)


def test_golden_files_are_all_there():
    assert len(FILES) == 126 + 11 + 3 + 4
