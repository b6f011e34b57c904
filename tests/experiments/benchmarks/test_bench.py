"""The benchmarks measure what they say; how fast anything is, no test asks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.benchmarks import (
    bench_data,
    bench_layer,
    bench_model,
    bench_published,
    bench_scaling,
    bench_startup,
    bench_trainer,
    harness,
    worker,
)
from experiments.benchmarks.__main__ import main, parse
from experiments.benchmarks.harness import Effort, Spread, interleave, relative
from experiments.benchmarks.layers import LAYERS, Setting, limit_of
from experiments.benchmarks.memory import kept_bytes
from experiments.benchmarks.models import build, equal_twin, equal_widths, small_options
from experiments.benchmarks.pictures import draw_all
from experiments.benchmarks.record import (
    COLUMNS,
    Row,
    append_rows,
    bf16_instructions,
    newest,
    read_rows,
    timed_rows,
)
from experiments.benchmarks.worker import run_isolated
from experiments.errors import DataError, UserError
from models import list_models
from models.complexity import count_parameters

TINY = {"batch": 2, "channels": 4, "size": 6}
ONCE = {"seconds": 0.0, "min_rounds": 1, "warm_up": 1}
ROW = Row("bench_layer", "gram", "layer", "training step [s]", 0.5, baseline="limit", ratio=1.25)


# ----------------------------------------------------------------------------------------- harness
def test_providers_take_turns(monkeypatch) -> None:
    monkeypatch.setattr(harness, "repeats_of", lambda seconds: 1)
    calls: list[str] = []
    providers = {name: lambda name=name: calls.append(name) for name in "abc"}
    samples = interleave(providers, Effort(seconds=0, min_rounds=3, warm_up=2))
    assert "".join(calls) == "abc" * 5
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 3, "b": 3, "c": 3}


def test_short_work_is_repeated_and_its_time_is_of_one_call(monkeypatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(harness, "timer", lambda: next(clock) * 1e-3)  # a sample takes 1 ms
    calls: list[int] = []
    effort = Effort(seconds=0, min_rounds=4, warm_up=1)
    (seconds,) = interleave({"a": lambda: calls.append(1)}, effort).values()
    assert seconds == pytest.approx([0.5e-3] * 4) and len(calls) == 1 + 4 * 2


@pytest.mark.parametrize("seconds, rounds", [(0.0, 60), (1.0, 5), (0.4, 10), (1e-6, 60)])
def test_rounds_fit_the_time_within_limits(seconds: float, rounds: int) -> None:
    assert Effort(seconds=4, min_rounds=5, max_rounds=60).rounds(seconds) == rounds


def test_quartiles_and_ratios_are_taken_round_by_round() -> None:
    assert Spread.of([1, 2, 3, 4, 5]) == Spread(3, 2, 4)
    assert Spread.of([7.0]) == Spread(7, 7, 7)
    # The machine is four times slower in the second half; every round says the same.
    assert relative([2, 2, 8, 8], [1, 1, 4, 4]) == Spread(2, 2, 2)


def test_rows_compare_every_provider_with_the_baseline() -> None:
    limit, layer = timed_rows(
        {"limit": [1.0, 2.0, 4.0], "layer": [2.0, 6.0, 4.0]}, baseline="limit", images=8,
        targets={"layer": 1.5}, bench="bench_layer", case="gram", metric="training step [s]",
    )  # fmt: skip
    assert (limit.ratio, limit.target, limit.holds) == (1, None, None)
    assert (layer.median, layer.ratio, layer.rounds) == (4, 2, 3)
    assert layer.images_per_second == 2 and layer.holds is False
    assert replace(layer, ratio=1.504).holds is True


# ------------------------------------------------------------------------------------------- files
def test_rows_come_back_from_the_file_and_the_newest_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench_layer.csv"
    again, other = replace(ROW, ratio=1.125), replace(ROW, case="rbf", value=3.0)
    append_rows(path, [ROW])
    append_rows(path, [other, again])
    assert read_rows(path) == [ROW, other, again]
    assert newest(read_rows(path)) == [again, other]
    with open(path, newline="") as file:
        assert next(csv.reader(file)) == COLUMNS
    assert read_rows(tmp_path / "none.csv") == []


def test_a_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bench.csv"
    path.write_text("bench,case\nold,gram\n")
    with pytest.raises(DataError, match="--fresh"):
        append_rows(path, [ROW])
    assert path.read_text() == "bench,case\nold,gram\n"


def test_the_processor_says_what_it_multiplies(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name : x\nflags\t\t: fpu avx512_bf16 amx_bf16\n")
    assert bf16_instructions(info) == "amx_bf16 avx512_bf16"
    info.write_text("flags : fpu avx2\n")
    assert bf16_instructions(info) == "none"
    assert bf16_instructions(tmp_path / "absent") == "unknown"


# --------------------------------------------------------------------------- limits, twins, memory
@pytest.mark.parametrize(
    "name, maps", [("gram", 4), ("chebyshev", 3), ("bspline", 9), ("rbf", 9), ("relu", 9),
                   ("wavelet", 2), ("bernstein", 5)],
)  # fmt: skip
def test_a_limit_reads_the_functions_that_vary_and_the_base(name: str, maps: int) -> None:
    setting = Setting(**TINY)
    (convolution,) = limit_of(LAYERS[name].layer(setting), setting).convolutions
    assert (convolution.in_channels, convolution.out_channels) == (4 * maps, 4)
    assert convolution.bias is None and convolution.kernel_size == (3, 3)


def test_the_limit_of_a_bottleneck_is_its_own_convolutions() -> None:
    setting = Setting(2, 64, 6)
    layer = LAYERS["bottleneck"].layer(setting)
    limit = limit_of(layer, setting)
    sizes = [(c.in_channels, c.out_channels) for c in limit.convolutions]
    assert sizes == [(64, 16), (48, 16), (16, 64), (64, 64)]
    with pytest.raises(TypeError, match="limit_of"):
        limit_of(nn.Identity(), setting)


def test_the_stand_in_of_a_layer_computes_the_same() -> None:
    setting, case = Setting(**TINY), LAYERS["kaconv"]
    layer, (name, stand_in) = case.layer(setting), case.other(setting)
    stand_in.layer.load_state_dict(layer.state_dict())
    x = setting.input()
    torch.testing.assert_close(stand_in(x), layer(x))
    sizes = [
        (c.in_channels, c.out_channels, c.groups) for c in limit_of(layer, setting).convolutions
    ]
    assert sizes == [(12, 76, 4), (76, 4, 1)]
    ours, theirs = bench_layer.kept_for_backward(["kaconv"], TINY)
    assert (ours.provider, theirs.provider) == ("layer", name) and theirs.target is None
    assert theirs.median > 5 * ours.median
    rows = list(bench_layer.training_step(["kaconv"], ONCE, TINY))
    assert [row.provider for row in rows] == ["limit", "layer", name]


def test_kept_bytes_count_storages_once_and_no_parameters() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    linear = nn.Linear(8, 8)
    assert kept_bytes(lambda: linear(x), linear.parameters()) == x.nbytes
    assert kept_bytes(lambda: (linear(x), x * x), linear.parameters()) == x.nbytes
    assert kept_bytes(lambda: x.exp().sin(), []) == x.nbytes  # exp keeps its result, sin its input


def test_twins_have_equal_parameters() -> None:
    model, twin = equal_twin(
        "eight_simple_conv_kagn", "eight_simple_conv", (4, 8, 8, 8, 8, 8, 8, 8)
    )
    assert count_parameters(twin) == pytest.approx(count_parameters(model), rel=0.01)
    with pytest.raises(ValueError, match="% off"):
        equal_widths(lambda widths: 1000 * widths[0], (1,), wanted=1500)


@pytest.mark.parametrize("name", list_models(task="classification")[::8])
def test_every_model_is_small_and_its_twin_exists(name: str) -> None:
    twin, options = small_options(name)
    with torch.device("meta"):
        assert count_parameters(build(name, **options)) < 20e6
    assert twin is None or twin in list_models()


# --------------------------------------------------------------------------- one run of everything
def test_layers_are_measured_tiny() -> None:
    for measured in (
        bench_layer.training_step(["gram"], ONCE, TINY),
        bench_layer.inference(["gram"], ONCE, TINY),
    ):
        rows = list(measured)
        assert {row.provider for row in rows} >= {"limit", "layer"}
        assert all(row.median > 0 and row.ratio for row in rows)
    (kept,) = bench_layer.kept_for_backward(["gram"], TINY)
    assert 1 <= kept.ratio < 2.5 and kept.median == kept.ratio * 2 * 4 * 6 * 6 * 4
    limit, half_limit, single, half = bench_layer.bfloat16(["gram"], ONCE, TINY)
    assert (limit.baseline, half_limit.baseline, half.baseline) == ("limit", "limit", "float32")
    assert (single.dtype, half.dtype, half.layout) == ("float32", "bfloat16", "channels_last")


@pytest.mark.parametrize("name", bench_published.CASES)
def test_plain_forms_compute_what_layers_do(name: str) -> None:
    torch.manual_seed(0)
    case = bench_published.CASES[name]
    layer = case.make(16)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    x = torch.randn(case.shape(16))
    torch.testing.assert_close(layer(x), case.plain(layer)(x), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_published_layers_are_measured_tiny() -> None:
    names = list(bench_published.CASES)
    rows = list(bench_published.training_step(names, ONCE, small=16))
    assert [row.target for row in rows if row.provider == "layer"] == [0.85, 0.9, 0.9, 0.8]
    assert [row.provider for row in rows[:3]] == ["plain torch", "layer", "limit"]
    plain, layer, *rest = bench_published.kept_for_backward(names, small=16)
    assert layer.target == 3 and layer.holds and plain.ratio > 10 * layer.ratio
    assert {row.target for row in rest} == {None}


@pytest.mark.parametrize(
    "flags, has_target", [("amx_bf16 avx512_bf16", True), ("bf16", True), ("avx512_bf16", False),
                          ("none", False), ("unknown", False)],
)  # fmt: skip
def test_bfloat16_has_a_target_where_matrices_of_it_are_multiplied(
    flags: str, has_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_layer, "bf16_instructions", lambda: flags)
    *_, half = bench_layer.bfloat16(["gram"], ONCE, TINY)
    assert (half.target is not None) == has_target


@pytest.mark.slow
def test_the_other_benchmarks_are_measured_tiny() -> None:
    rows = list(bench_model.speed(["simple_conv_kagn", "simple_conv"], ONCE, batch=2))
    assert [row.provider for row in rows] == ["twin", "model"] * 2 + ["folded"] + ["model"] * 2
    rows = list(bench_model.transformer(ONCE, batch=1, side=32))
    assert [(row.provider, row.target) for row in rows] == [("twin", None), ("model", 1.1)] * 2
    assert 1.0 < rows[-1].ratio < 1.1
    rows = list(bench_data.loaders("cifar-like", ["none", "mixup"], ONCE, batch=16))
    assert [row.provider for row in rows] == ["none", "mixup"] and rows[0].images_per_second > 0
    rows = list(bench_data.kept(16, ONCE, files=60, batch=4))
    assert [row.provider[11:] for row in rows] == ["null", "memory", "folder"]
    rows = list(bench_scaling.growth("degree", ["gram"], (2, 3), ONCE, TINY))
    assert {row.value for row in rows} == {2, 3} and bench_scaling.growth_of(rows).keys()
    overrides = ["experiment=quickstart", "trainer.batch_size=2", "data.image_size=8",
                 "trainer.ema_decay=null", "model.layer_sizes=[2,2,2,2]"]  # fmt: skip
    rows = list(bench_trainer.overhead("quickstart", overrides, ONCE))
    assert [row.provider for row in rows] == ["bare loop", "trainer"]


@pytest.mark.parametrize("dataset", ["digits", "folder"])
def test_every_offline_dataset_loads(dataset: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bench_data, "FILES", 40)
    datasets = bench_data.SOURCES[dataset](tmp_path)
    assert len(datasets.train) > 0


def test_startup_times_a_command_and_tells_its_failure(monkeypatch) -> None:
    monkeypatch.setattr(bench_startup, "_seconds_to_first_step", lambda: 2.0)
    monkeypatch.setattr(bench_startup, "_run", lambda *arguments: None)
    rows = list(bench_startup.commands(ONCE))
    assert [row.provider for row in rows][-1] == "first step" and rows[-1].median == 2
    monkeypatch.undo()
    with pytest.raises(UserError, match="ended with code 3"):
        bench_startup._run("-c", "raise SystemExit(3)")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts the pages")
@pytest.mark.slow
def test_a_worker_measures_the_peak_of_memory() -> None:
    """A convolution's step holds at least its output and the gradients of both images."""
    setting = {"batch": 8, "channels": 16, "size": 32}
    rows = list(run_isolated("bench_layer", "peak_memory", allocator="mapped", threads=1,
                             name="gram", setting=setting))  # fmt: skip
    x = 8 * 16 * 32 * 32 * 4
    assert [row.provider for row in rows] == ["limit", "layer"]
    assert all(3 * x < row.median < 60 * x for row in rows)
    assert rows[0].allocator == "mapped" and rows[0].threads == 1
    assert rows[0].torch == torch.__version__ and rows[0].cpu


def test_a_worker_that_fails_says_why() -> None:
    with pytest.raises(UserError, match=r"bench_layer\.no_such"):
        list(run_isolated("bench_layer", "no_such"))


# ------------------------------------------------------------------------------------ command line
def test_the_command_writes_rows_prints_a_table_and_draws(tmp_path, monkeypatch, capsys) -> None:
    def here(bench: str, measure: str, allocator: str = "kept", threads=None, **options):
        if measure != "training_step":
            return
        options |= {"names": ["gram", "rbf"], "effort": ONCE, "setting": TINY}
        orders = {"bench": bench, "measure": measure, "allocator": allocator, "options": options}
        yield from worker.measure(json.loads(json.dumps(orders)))

    monkeypatch.setattr(bench_layer, "run_isolated", here)
    places = ["--results", str(tmp_path), "--pictures", str(tmp_path)]
    main(["layer", "--short", *places])
    main(["layer", "--short", *places])
    assert len(read_rows(tmp_path / "bench_layer.csv")) == 12
    main(["layer", "--short", "--fresh", *places])
    assert len(read_rows(tmp_path / "bench_layer.csv")) == 6
    assert (tmp_path / "bench_layer.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "Benchmarks" in printed and "bench_layer.png" in printed


def test_axes_are_drawn_from_their_rows(tmp_path: Path) -> None:
    rows = [replace(ROW, bench="bench_scaling", axis="batch", value=v) for v in (1.0, 16.0)]
    assert draw_all(rows, tmp_path) == [tmp_path / "bench_batch.png"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["layers"], "choose from: layer"),
        (["layer", "--axes", "batch"], "belongs to the benchmark scaling"),
        (["scaling", "--axes", "depth"], "invalid choice"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], words: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_a_pattern_that_fits_no_model_is_explained() -> None:
    with pytest.raises(UserError, match="fits no classifier"):
        list(bench_model.run(True, "nothing*"))
