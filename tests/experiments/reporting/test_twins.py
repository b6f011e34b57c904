"""The plain twin of a KAN in a report: who is one, and what is said of the two."""

import csv
import io
import json

import pytest
import yaml

from experiments.reporting.read import find_runs, read_run
from experiments.reporting.report import columns_of, main, render, summarize_with_twins

WIDTH = {"width_scale": 0.5}
TO_KAN = {"match": "reskagnet width_scale=0.5"}
KAN, PLAIN, SHARED = ("reskagnet", WIDTH), ("resnet", TO_KAN), ("ressvkanet", TO_KAN)


@pytest.fixture
def write(tmp_path):
    """write(((name, options) of a model, scores of the seeds, config keys), ...) -> the folder."""

    def made(*rows, **manifest):
        for i, ((name, options), scores, *changes) in enumerate(rows):
            for seed, score in enumerate(scores):
                path = tmp_path / f"{i}-{seed}"
                path.mkdir()
                groups = {"data": {"name": "digits"}, "model": {"name": name, **options}}
                groups |= dict(*changes)
                (path / "config.yaml").write_text(yaml.safe_dump({"seed": seed, **groups}))
                values = {"status": "finished", "parameters": 42_000, **manifest}
                (path / "manifest.json").write_text(json.dumps(values))
                test = {"epoch": 1, "metrics": {"accuracy": score, "loss": 1 - score}}
                (path / "test.json").write_text(json.dumps(test))
        return tmp_path

    return made


def report(folder):
    """The rows by model, and the lines below the table."""
    rows, lines = summarize_with_twins([read_run(path) for path in find_runs([folder])])
    return {row["model"]: row for row in rows}, lines


def test_a_kan_stands_beside_the_plain_twin_that_was_matched_to_it(write):
    rows, lines = report(
        write((KAN, [0.90, 0.92]), (PLAIN, [0.95, 0.96, 0.5]), (SHARED, [0.97, 0.96]))
    )
    row = rows["reskagnet"]
    assert row["twin"] == "resnet" and row["twin_seeds"] == 2  # its third seed has no counterpart
    assert row["twin_test"] == pytest.approx(0.955)
    assert row["twin_test_std"] == pytest.approx(0.00707, abs=1e-4)
    assert row["twin_difference"] == pytest.approx(-0.045)
    assert row["twin_difference_std"] == pytest.approx(0.00707, abs=1e-4)
    assert row["twin_verdict"] == "loses"
    assert "twin" not in rows["resnet"]
    shared = rows["ressvkanet"]  # matched to the same network as its twin
    assert shared["twin"] == "resnet" and shared["twin_difference"] == pytest.approx(0.01)
    assert lines[0].startswith("reskagnet on digits")
    assert "loses: acc. 91.00 % against 95.50 % of its twin resnet, by 4.50 %" in lines[0]
    assert lines[1] == (
        "KAN rows with a plain twin: 1 loses, 0 wins, 1 within the deviation, "
        "0 with one seed in common"
    )
    assert len(lines) == 2


def test_a_kan_may_be_matched_to_the_plain_network_as_well(write):
    kan = ("reskagnet", {"match": "resnet width_scale=0.5"})
    rows, lines = report(write((kan, [0.90, 0.91]), (("resnet", WIDTH), [0.80, 0.82])))
    assert rows["reskagnet"]["twin"] == "resnet"
    assert rows["reskagnet"]["twin_difference"] == pytest.approx(0.095)
    assert rows["reskagnet"]["twin_verdict"] == "wins" and len(lines) == 1


def test_a_difference_within_the_deviation_is_called_so(write):
    rows, lines = report(write((KAN, [0.90, 0.95]), (PLAIN, [0.92, 0.94])))
    assert rows["reskagnet"]["twin_verdict"] == "within the deviation"
    assert "is behind within the deviation" in lines[0] and "by 0.50 % ± 2.12 %" in lines[0]


def test_one_seed_tells_no_deviation(write):
    rows, lines = report(write((KAN, [0.90]), (PLAIN, [0.94])))
    assert rows["reskagnet"]["twin_verdict"] == "with one seed in common"
    assert rows["reskagnet"]["twin_difference_std"] is None
    assert "is behind: acc. 90.00 % against 94.00 %" in lines[0] and "by chance" in lines[0]


@pytest.mark.parametrize(
    "other",
    [
        (("resnet", WIDTH), [0.9]),  # not matched
        (("resnet", {"match": "reskagnet width_scale=0.25"}), [0.9]),  # to another size
        (("resnet", {"match": "no_such_model"}), [0.9]),
        (PLAIN, [0.9], {"optimizer": {"name": "adamw", "lr": 0.1}}),
        (PLAIN, [0.9], {"data": {"name": "digits", "image_size": 16}}),
        (SHARED, [0.9]),  # a KAN itself
    ],
)
def test_who_is_no_twin(write, other):
    rows, lines = report(write((KAN, [0.9]), other))
    assert rows["reskagnet"]["twin"] == "none" and "twin_test" not in rows["reskagnet"]
    assert "no finished plain twin here; train a plain model with model.match" in lines[-1]


def test_what_concerns_kans_alone_and_roundings_part_no_twins(write):
    kan = ("reskagnet", {**WIDTH, "backend": "torch"})
    rows, _ = report(write((kan, [0.9], {"penalty": {"l1_decay": 1e-5}}), (PLAIN, [0.8])))
    assert rows["reskagnet"]["twin"] == "resnet"


def test_of_two_plain_twins_the_better_one_counts(write):
    folder = write((KAN, [0.9, 0.9]), (PLAIN, [0.91, 0.92]), (("vgg", TO_KAN), [0.93, 0.95]))
    assert report(folder)[0]["reskagnet"]["twin"] == "vgg"


def test_a_twin_without_a_result_is_none_yet(write):
    folder = write((KAN, [0.9]), (PLAIN, [0.9]))
    (folder / "1-0" / "test.json").unlink()
    rows, lines = report(folder)
    assert rows["reskagnet"]["twin"] == "none" and len(lines) == 1


@pytest.mark.parametrize(("model", "options", "is_kan"), [
    ("kaconvnet", {}, True), ("kaconvnet_conv", {}, False), ("kaconvnet_svkan", {}, True),
    ("rkan", {}, True), ("rkan_conv", {}, False), ("vggkagn", {}, True), ("vgg", {}, False),
    ("timm", {}, False), ("timm", {"head": "kan"}, True),
])  # fmt: skip
def test_the_registry_knows_who_learns_functions(write, model, options, is_kan):
    rows, _ = report(write(((model, options), [0.9])))
    assert ("twin" in rows[model]) == is_kan


def test_a_model_of_ones_own_is_known_by_the_manifest(write):
    rows, _ = report(write((("my_own", {}), [0.9]), is_kan=True))
    assert rows["my_own"]["twin"] == "none"


def test_the_table_in_three_forms(write, capsys):
    folder = str(write((KAN, [0.90, 0.92]), (PLAIN, [0.95, 0.96])))
    for form in ("text", "markdown"):
        assert main([folder, "--format", form]) == 0
        text = capsys.readouterr().out
        assert "95.50 ± 0.71" in text and "-4.50 ± 0.71" in text and "verdict" not in text
        assert "2 finished" in text  # the last column has its place, too
        assert text.splitlines()[-2].startswith("- reskagnet on digits")
    assert main([folder, "--format", "csv"]) == 0
    kan, plain = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(kan["twin_difference"]) == pytest.approx(-0.045) and kan["twin"] == "resnet"
    assert kan["twin_verdict"] == "loses" and plain["twin"] == plain["twin_verdict"] == ""


def test_a_report_without_kans_says_nothing_of_twins(write):
    found = [read_run(path) for path in find_runs([write((("resnet", {}), [0.9]))])]
    rows, lines = summarize_with_twins(found)
    assert lines == [] and "twin" not in render(rows, columns_of(found), "text")
