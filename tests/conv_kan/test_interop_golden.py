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


def make_golden(meta):
    """The layer of a golden file, its defects included."""
    legacy = {"legacy": True} if meta["cls"].startswith(("KALN", "KAL_", "KAC_")) else {}
    return published.get_published(meta["cls"])(*meta["args"], **meta["kwargs"], **legacy)


def assert_close(found, wanted, tolerance, name):
    """Relative to the norm, and entry by entry to the largest one."""
    for size in (torch.linalg.vector_norm, lambda t: t.abs().max()):
        error = size(found - wanted) / size(wanted)
        assert error < tolerance, f"{name}: relative error {error:.1e}"


def assert_exported(found, state):
    """The published state bit for bit, but for knots that nothing learns.

    torchkan computed them in float32, whose last bits depend on the processor; ours are rounded
    once, and are the same bits everywhere.
    """
    knots = {key for key in state if key.startswith("grid_")}
    for key in knots:
        wanted = state[key].double()
        step = 2 / (wanted.shape[1] - 7)  # torchkan.KAN: 5 intervals in [-1, 1], order 3
        exact = -1 + (torch.arange(wanted.shape[1], dtype=torch.float64) - 3) * step
        assert torch.equal(found[key], exact.float().expand_as(wanted)), key
        last_bit = torch.finfo(torch.float32).eps * wanted.abs().max()
        assert (found[key].double() - wanted).abs().max() <= last_bit, key
    assert_same({**found, **{key: state[key] for key in knots}}, state)


def precision(path, meta):
    """The dtype to compute a file in, and the tolerance.

    A result that passed a norm of few values was recorded in float64: in float32 it is noise, and
    differs between processors.
    """
    if "float64" in meta.get("note", ""):
        return torch.float64, 1e-6
    return torch.float32, 1e-4 if path.stem.startswith(("FastKAN", "WavKAN")) else 1e-5


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
    assert_exported(export_published(layer), state)
    dtype, tolerance = precision(path, meta)
    layer.to(dtype)
    x = tensors["x"].to(dtype).requires_grad_()
    y = layer(x)
    y.backward(tensors["grad_y"].to(dtype))
    assert_close(y, tensors["y"], tolerance, "y")
    assert_close(x.grad, tensors["grad_x"], tolerance, "grad_x")
    own = {name: p.grad for name, p in layer.named_parameters() if p.requires_grad}
    grads, wanted = published_names(layer, own), part(tensors, "grad.")
    assert set(wanted) <= set(grads)
    for key, grad in grads.items():
        if key in wanted:
            assert_close(grad, wanted[key], tolerance, key)
        else:  # left out: a bias before a batch norm, whose true gradient is 0
            assert dtype == torch.float64 and key.endswith(".bias"), key
            assert grad.norm() < 1e-12 * grads[key.replace("bias", "weight")].norm(), key


def test_golden_files_are_all_there():
    assert len(FILES) == 126 + 11 + 3 + 4
