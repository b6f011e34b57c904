"""The forecast of a training step's memory against steps that are taken, and what must hold."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from experiments.benchmarks import bench_memory
from experiments.benchmarks.bench_memory import Case
from models import create_model
from models.memory import CODE, HOLES, forecast_memory
from models.simulation import Ledger, simulate_steps, take_steps

SIDE = 16
SMALL = {
    "simple_conv_kagn": {"layer_sizes": [8, 8, 8, 8]},
    "simple_conv_wavkan": {"layer_sizes": [4, 4, 4, 4], "head": "linear"},
    "kaconvnet": {"width_scale": 0.25, "blocks": 1},
    "simple_conv": {"layer_sizes": [8, 8, 8, 8]},
    "ukagnet": {"depth": 2, "layers": 1, "width_scale": 0.25},
}
DENSE = {"block_config": [4], "growth_rate": 8, "stem_stride": 1}
counts_pages = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux counts the pages of a process"
)


def build(name, **options):
    sizes = {**SMALL.get(name, {}), **options}
    return create_model(name, num_classes=5, input_channels=3, **sizes)


def on_meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def forecast(name="simple_conv_kagn", batch=8, optimizer="adamw", **options):
    return forecast_memory(on_meta(name, **options), (3, SIDE, SIDE), batch, optimizer)


def all_bytes(found):
    return float(sum(found.values()))


@pytest.mark.parametrize("name", SMALL)
def test_a_simulated_step_holds_the_bytes_of_one_that_is_taken(name):
    """At its largest moment, role by role; a tile of wavelets is as large as the others."""
    found = simulate_steps(on_meta(name), (3, SIDE, SIDE), 8, "adamw", all_bytes)
    ledger = Ledger(all_bytes)
    take_steps(build(name), torch.randn(8, 3, SIDE, SIDE), "adamw", ledger)
    assert found == pytest.approx(ledger.peak, abs=1024)  # constants that a process makes once
    assert all(found[role] > 0 for role in ("weights", "batch", "optimizer"))


def test_the_parts_of_a_forecast():
    found, model = forecast(), on_meta("simple_conv_kagn")
    weights = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    trained = sum(p.nbytes for p in model.parameters())
    assert found.weights == weights and found.batch == 8 * 3 * SIDE * SIDE * 4 + 8 * 8
    assert 2 * trained <= found.optimizer < 2.01 * trained  # and a count of steps for each
    assert 0 < found.gradients <= trained and found.code == CODE
    moving = found.scratch + found.kept + found.transient
    assert found.holes == round(HOLES * moving)
    assert found.growth == found.gradients + found.optimizer + moving + found.holes + CODE
    assert found.total == sum(asdict(found).values()) == found.growth + weights + found.batch


def test_activations_grow_with_the_batch_and_nothing_else_does():
    small, large, larger = (forecast(batch=batch) for batch in (64, 128, 192))
    assert large.weights == small.weights and large.optimizer == small.optimizer
    assert larger.total - large.total == pytest.approx(large.total - small.total, rel=0.02)
    assert large.kept > 1.9 * small.kept


@pytest.mark.slow
def test_checkpointing_lowers_it():
    plain, again = (
        forecast("densekagnet", 32, grad_checkpointing=on, **DENSE) for on in (False, True)
    )
    assert again.kept < 0.6 * plain.kept and again.growth < plain.growth
    assert again.weights == plain.weights


@pytest.mark.parametrize("optimizer, states", [("sgd", 1), ("lion", 1), ("adamw", 2), ("lamb", 2)])
def test_the_state_of_the_optimizer(optimizer, states):
    found = forecast("simple_conv", optimizer=optimizer)
    trained = sum(p.nbytes for p in on_meta("simple_conv").parameters())
    assert states * trained <= found.optimizer <= 1.1 * states * trained


@pytest.mark.slow
def test_mixtures_are_taken_to_be_equally_busy():
    """Twice the samples pass the layers where each goes to two of three experts."""
    plain = forecast("simple_conv_kagn")
    mixed = forecast("simple_conv_kagn", form="experts", num_experts=3, active_experts=2)
    assert 2 * plain.weights < mixed.weights < 4 * plain.weights
    assert plain.kept < mixed.kept < 6 * plain.kept


def test_no_memory_is_needed_for_what_would_not_fit():
    found = forecast("simple_conv_kagn", 1 << 20)
    assert found.total > 1 << 37  # 128 GiB


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="too small"):
        forecast_memory(on_meta("vggkan"), (3, 1, 1), 2)


@pytest.mark.slow
@counts_pages
def test_a_process_that_trains_grows_about_as_forecast():
    """To within a factor that no processor and no luck of the allocator exceeds."""
    case = Case("simple_conv", 256, 32, {"layer_sizes": [32, 32, 32, 64]})
    (row,) = bench_memory.run_isolated("bench_memory", "measured", case=list(case))
    assert 0.6 < bench_memory.forecast(case).growth / row.median < 1.6


@counts_pages
@pytest.mark.slow
@pytest.mark.parametrize("case", bench_memory.TESTED, ids=lambda case: case.name)
def test_the_forecast_is_within_15_percent(case):
    measured, found = bench_memory.compare(case)
    assert measured.median > 300 << 20
    assert found.holds, (measured.median, found.median)
