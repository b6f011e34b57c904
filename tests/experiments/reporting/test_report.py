"""Reports over finished, unfinished and broken runs."""

import csv
import io
import json
import statistics
import subprocess
import sys

import pytest
import yaml

from experiments.errors import UserError
from experiments.reporting.read import find_runs, read_run
from experiments.reporting.report import columns_of, main, render, short, summarize
from experiments.runs.lock import RunLock


def make_run(path, seed=0, test=None, status="finished", device="cpu", validation=None, **changes):
    """Write a run directory; changes are config keys such as optimizer__lr=0.1."""
    config = {
        "name": "n",
        "seed": seed,
        "runs_dir": "runs",
        "model": {"name": "net", "degree": 3},
        "data": {"name": "digits", "root": "data", "mean": [0.5]},
        "optimizer": {"name": "adamw", "lr": 0.01},
        "trainer": {"monitor": "accuracy", "resume": None},
        "tracker": {"name": "local"},
    }
    for key, value in changes.items():
        group, _, leaf = key.partition("__")
        if leaf:
            config[group][leaf] = value
        else:
            config[group] = value
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    manifest = {
        "status": status,
        "device": device,
        "processes": 1,
        "parameters": 1234567,
        "macs": 89,
        "started": f"2024-01-01T00:00:{seed:02}",
        "step_seconds": 0.01 + 0.001 * seed,
        "images_per_second": 1000.0,
        "peak_memory_bytes": 2**30,
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    accuracies = [0.5, 0.7, 0.7, 0.6] if validation is None else validation
    with open(path / "metrics.jsonl", "w") as file:
        for i, accuracy in enumerate(accuracies):
            row = {"epoch": i + 1, "step": 10 * i, "loss": 1 - 0.1 * i}
            file.write(json.dumps({"split": "train", "accuracy": 0.99} | row) + "\n")
            file.write(json.dumps({"split": "validation", "accuracy": accuracy} | row) + "\n")
    if test is not None:
        content = {"split": "test", "epoch": 2, "metrics": {"accuracy": test}}
        (path / "test.json").write_text(json.dumps(content))
    return path


def rows_of(*paths):
    return summarize([read_run(path) for path in find_runs(paths)])


def test_seeds_share_a_row(tmp_path):
    for seed, accuracy in enumerate([0.8, 0.9, 0.85]):
        make_run(
            tmp_path / str(seed), seed, accuracy, name=f"run {seed}", tracker={"name": "wandb"}
        )
    (row,) = rows_of(tmp_path)
    assert row["seeds"] == 3 and row["model"] == "net" and row["data"] == "digits"
    assert row["parameters"] == 1234567 and row["macs"] == 89
    assert row["test_accuracy"] == pytest.approx(0.85)
    assert row["test_accuracy_std"] == pytest.approx(statistics.stdev([0.8, 0.9, 0.85]))
    assert row["step_ms"] == pytest.approx(11)
    assert row["peak_memory_mib"] == 1024
    assert row["validation_accuracy"] == pytest.approx(0.7)
    assert row["best_epoch"] == "2"  # the earlier of equals
    assert row["status"] == "3 finished" and row["settings"] == ""


def test_keys_that_change_no_result_do_not_part_runs(tmp_path):
    make_run(tmp_path / "a", 0, 0.8, trainer__resume="auto", data__root="elsewhere")
    make_run(tmp_path / "b", 1, 0.8, runs_dir="other", name="other")
    assert len(rows_of(tmp_path)) == 1


def test_other_settings_make_other_rows_and_are_named(tmp_path):
    make_run(tmp_path / "a", 0, 0.8)
    make_run(tmp_path / "b", 0, 0.9, optimizer__lr=0.1)
    make_run(tmp_path / "c", 0, 0.7, model={"name": "other", "width": 2})
    rows = rows_of(tmp_path)
    assert [row["settings"] for row in rows] == ["lr=0.01", "lr=0.1", ""]
    assert all(row["test_accuracy_std"] is None for row in rows)


def test_settings_are_told_in_short_and_without_defaults(tmp_path):
    adamw = {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.999]}
    make_run(tmp_path / "a", 0, 0.8, optimizer=adamw)
    model = {"name": "net", "degree": 3, "weights": "/a/long/way/to/some/run/of/yesterday"}
    changed = {"lr": 0.1 + 0.2, "betas": [0.9, 0.99]}
    make_run(tmp_path / "b", 0, 0.8, optimizer=adamw | changed, model=model)
    make_run(tmp_path / "c", 0, 0.8, optimizer={**adamw, "name": "lion"})
    first, second, third = (row["settings"] for row in rows_of(tmp_path))
    assert first == "" and third.endswith("optimizer=lion")
    weights = "weights=\N{HORIZONTAL ELLIPSIS}o/some/run/of/yesterday"
    assert second == f"{weights} betas=[0.9,0.99] lr=0.3"


def test_a_killed_run_is_no_running_one(tmp_path):
    path = make_run(tmp_path / "a", 0, None, status="running", validation=[])
    (path / "lock.json").write_text("{}")  # left behind
    assert read_run(path).status == "killed"
    code = "import sys, time; from pathlib import Path; from experiments.runs.lock import RunLock\n"
    code += "RunLock(Path(sys.argv[1])).take(); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert read_run(path).status == "running"
    finally:
        holder.kill()
        holder.wait()
    assert read_run(path).status == "killed"
    lock = RunLock(path)
    lock.take()
    assert read_run(path).status == "running"  # also of this process, whose lock stays
    assert lock_is_held_elsewhere(path)
    lock.release()


def lock_is_held_elsewhere(path):
    code = "import sys; from experiments.files import *; print(lock_is_held(Path(sys.argv[1])))"
    words = [sys.executable, "-c", code, str(path / "lock.json")]
    return subprocess.check_output(words) == b"True\n"


def test_an_end_by_patience_is_told(tmp_path):
    path = make_run(tmp_path / "a", 0, 0.8)
    manifest = json.loads((path / "manifest.json").read_text())
    ended = {"reason": "patience", "epoch": 7, "best_epoch": 4}
    (path / "manifest.json").write_text(json.dumps({**manifest, "ended": ended}))
    assert rows_of(tmp_path)[0]["status"] == "finished (patience, epoch 7)"


def test_a_seed_run_again_counts_once(tmp_path):
    make_run(tmp_path / "a", 0, None, status="failed")
    make_run(tmp_path / "b", 0, 0.8)
    make_run(tmp_path / "c", 1, 0.9)
    (row,) = rows_of(tmp_path)
    assert row["seeds"] == 2
    assert row["test_accuracy"] == pytest.approx(0.85)
    assert row["status"] == "1 failed, 2 finished"


def test_unequal_hardware_has_no_common_speed(tmp_path):
    make_run(tmp_path / "a", 0, 0.8)
    make_run(tmp_path / "b", 1, 0.8, device="cuda")
    (row,) = rows_of(tmp_path)
    assert row["step_ms"] is None and row["peak_memory_mib"] is None
    assert row["test_accuracy"] == pytest.approx(0.8)


def test_the_monitored_metric_selects_the_epoch(tmp_path):
    make_run(tmp_path / "a", 0, 0.8, trainer={"monitor": "loss"})
    (row,) = rows_of(tmp_path)
    assert row["best_epoch"] == "4" and row["validation_accuracy"] == 0.6


def test_unfinished_and_broken_runs_are_listed(tmp_path):
    make_run(tmp_path / "a", 0, None, status="running", validation=[])
    make_run(tmp_path / "b", 1, None, status="interrupted", model={"name": "b"})
    (make_run(tmp_path / "c", 2, 0.9, model={"name": "c"}) / "manifest.json").unlink()
    (make_run(tmp_path / "d", 3, 0.9) / "config.yaml").write_text("a: [")
    (make_run(tmp_path / "e", 4, 0.9, model={"name": "e"}) / "test.json").write_text("{")
    (make_run(tmp_path / "f", 5, 0.9, model={"name": "f"}) / "metrics.jsonl").write_text('{"spl')
    rows = rows_of(tmp_path)
    assert [row["status"] for row in rows] == [
        "killed",
        "interrupted",
        "broken (no manifest.json)",
        "broken (config.yaml is unreadable)",
        "broken (test.json is unreadable)",
        "finished",
    ]
    assert [row["model"] for row in rows] == ["net", "b", "c", "d", "e", "f"]
    assert rows[0]["test_accuracy"] is None and rows[0]["best_epoch"] is None
    columns = columns_of([read_run(path) for path in find_runs([tmp_path])])
    for form in ("text", "csv", "markdown"):
        assert "interrupted" in render(rows, columns, form)


def test_runs_are_found_below_folders_and_once(tmp_path):
    a = make_run(tmp_path / "x" / "deep" / "a", 0, 0.8)
    b = make_run(tmp_path / "b", 1, 0.8)
    make_run(a / "checkpoints" / "nested", 2, 0.1)
    make_run(tmp_path / ".hidden" / "run", 3, 0.1)
    assert find_runs([tmp_path, a]) == [b, a]


@pytest.mark.parametrize("below", ["", "absent"])
def test_no_run_is_a_message_and_exit_code_2(tmp_path, capsys, below):
    assert main([str(tmp_path / below)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    with pytest.raises(UserError):
        find_runs([tmp_path / below])


# ------------------------------------------------------------------------------------------ formats
@pytest.fixture
def runs(tmp_path):
    for seed, accuracy in enumerate([0.8, 0.9]):
        make_run(tmp_path / "runs" / str(seed), seed, accuracy)
    return str(tmp_path / "runs")


def test_text(runs, capsys):
    assert main([runs]) == 0
    text = capsys.readouterr().out
    assert "85.00 ± 7.07" in text and "1.23M" in text
    assert "settings" not in text


def test_markup_in_names_is_text(tmp_path):
    make_run(tmp_path / "a", 0, 0.8, model={"name": "[bold]net"})
    make_run(tmp_path / "b", 0, 0.8, model={"name": "[bold]net", "widths": [1, 2]})
    make_run(tmp_path / "c", 0, 0.8, model={"name": "[/b] :snake:\\"})
    columns = columns_of([read_run(path) for path in find_runs([tmp_path])])
    text = render(rows_of(tmp_path), columns, "text")
    assert "[bold]net" in text and "widths=[1,2]" in text
    assert "[/b] :snake:\\" in text


def test_markdown(runs, capsys):
    assert main([runs, "--format", "markdown"]) == 0
    head, rule, row = capsys.readouterr().out.splitlines()
    assert head.startswith("| model | data | seeds | params | MACs |")
    assert set(rule) <= set("|- ")
    assert head.count("|") == rule.count("|") == row.count("|")
    assert "| 85.00 ± 7.07 |" in row


def test_csv_to_a_file(runs, tmp_path, capsys):
    output = tmp_path / "table.csv"
    assert main([runs, "--format", "csv", "--output", str(output)]) == 0
    assert capsys.readouterr().out == ""
    (row,) = csv.DictReader(io.StringIO(output.read_text()))
    assert float(row["test_accuracy"]) == pytest.approx(0.85)
    assert float(row["test_accuracy_std"]) == pytest.approx(0.0707, abs=1e-4)
    assert row["parameters"] == "1234567" and row["settings"] == ""


def test_output_into_a_folder_that_is_absent(runs, tmp_path, capsys):
    assert main([runs, "--output", str(tmp_path / "absent" / "table.txt")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "7"),
        (999, "999"),
        (1000, "1k"),
        (12345, "12.3k"),
        (999_999, "1M"),
        (456e9, "456G"),
        (4.5e12, "4.5T"),
    ],
)
def test_short_numbers(number, text):
    assert short(number) == text
