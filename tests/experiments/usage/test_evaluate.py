"""A finished run on its own and on other data: figures as in its test, and as in sklearn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support
from torch.nn import functional as F

from experiments.config.data import DataConfig
from experiments.data import load_datasets
from experiments.data.containers import Datasets
from experiments.data.masks import TensorMasks
from experiments.runs import evaluation_files as files
from experiments.usage import load_run
from experiments.usage.evaluate import main
from experiments.usage.renamed import as_trained
from experiments.usage.scripts import names_its_data

PUBLISHED = ["model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct",
             "interpolation"]  # fmt: skip


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """evaluate(run, *arguments): the JSON that the command writes."""

    def go(run: Path, *arguments: str) -> dict:
        if "--split" in arguments or "data=folder" in arguments:  # drawn once is enough
            monkeypatch.setattr(files, "draw_each", lambda *_: [])
        before = (run / "test.json").read_bytes()
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert main([str(run), *arguments, "--out", str(out)]) == 0
        assert (run / "test.json").read_bytes() == before
        (path,) = out.glob("*.json")
        return json.loads(path.read_text()) | {"files": sorted(p.name for p in out.iterdir())}

    return go


@pytest.mark.parametrize("name", ["kagn", "kat", "masks"])
def test_a_run_has_the_figures_of_its_test(name: str, runs, evaluate) -> None:
    test = json.loads((runs(name) / "test.json").read_text())
    found = evaluate(runs(name))
    assert found["metrics"] == test["metrics"]
    assert found["data_of_the_run"] is True and found["images"] > 0
    for key in test.keys() - {"metrics", "split", "epoch", "weights"}:
        assert found[key] == test[key]


def test_published_keys_classes_and_calibration(runs, evaluate) -> None:
    found = evaluate(runs("kagn"))
    assert list(found)[: len(PUBLISHED)] == PUBLISHED
    assert found["top1"] == round(100 * found["metrics"]["accuracy"], 4)
    assert found["top1_err"] == pytest.approx(100 - found["top1"])
    assert (found["img_size"], found["crop_pct"], found["interpolation"]) == (16, 1.0, "bilinear")
    assert found["files"] == ["digits-test.json", "digits-test_confusion_matrix.png",
                              "digits-test_reliability.png"]  # fmt: skip
    run, test = load_run(runs("kagn")), load_datasets(DataConfig()).test
    inputs = torch.stack([run.transform(test[index][0]) for index in range(len(test))])
    with torch.no_grad():
        logits = run.model(inputs)
    guesses = logits.argmax(1).numpy()
    targets = [int(test[index][1]) for index in range(len(test))]
    expected = precision_recall_fscore_support(targets, guesses, zero_division=0)
    columns = [[row[key] for row in found["classes"]]
               for key in ("precision", "recall", "f1", "images")]  # fmt: skip
    np.testing.assert_allclose(columns, expected, atol=1e-6)
    bins = found["reliability"]
    gaps = [
        row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins if row["images"]
    ]
    error = sum(gaps) / sum(row["images"] for row in bins)
    assert found["figures"]["calibration_error"] == pytest.approx(error, abs=1e-6)
    assert 0.02 < error < 0.98


def test_splits_mirrors_and_overrides(runs, evaluate) -> None:
    plain = evaluate(runs("kagn"), "--split", "validation")
    mirrored = evaluate(runs("kagn"), "--split", "validation", "--tta")
    halved = evaluate(runs("kagn"), "--split", "validation", "--precision", "bf16")
    smaller = evaluate(runs("kagn"), "--split", "validation", "data.image_size=32")
    assert plain["images"] == 144 and mirrored["files"][0] == "digits-validation-tta.json"
    losses = {round(f["metrics"]["loss"], 9) for f in (plain, mirrored, halved, smaller)}
    assert len(losses) == 4
    assert mirrored["tta"] == "mean of the outputs for image and mirror image"
    assert halved["precision"] == "bf16"
    assert mirrored["metrics"]["loss"] == pytest.approx(mirror_loss(runs("kagn")), abs=1e-5)


def mirror_loss(path: Path) -> float:
    run, validation = load_run(path), load_datasets(DataConfig()).validation
    items = [validation[index] for index in range(len(validation))]
    inputs = torch.stack([run.transform(image) for image, _ in items])
    with torch.no_grad():
        outputs = (run.model(inputs) + run.model(inputs.flip(-1))) / 2
    targets = torch.tensor([target for _, target in items])
    return float(F.cross_entropy(outputs, targets, label_smoothing=0.05))  # as cifar.yaml says


def write_folder(root: Path, names: dict[str, int]) -> Path:
    """A folder of test digits: class names, and the digit that each shows."""
    test = load_datasets(DataConfig()).test
    for split in ("train", "val", "test"):
        for name, digit in names.items():
            (root / split / name).mkdir(parents=True)
            found = [test[i][0] for i in range(len(test)) if int(test[i][1]) == digit][:6]
            for index, image in enumerate(found):
                Image.fromarray(image[0].numpy()).save(root / split / name / f"{index}.png")
    return root


def test_classes_of_other_data_are_known_by_their_names(
    runs, evaluate, tmp_path: Path, caplog
) -> None:
    three = write_folder(tmp_path / "three", {"9": 9, "4": 4, "7": 7})
    found = evaluate(runs("kagn"), "data=folder", f"data.root={three}")
    assert found["data_of_the_run"] is False
    rows = {row["class"]: row for row in found["classes"]}
    assert [n for n, row in rows.items() if row["images"]] == ["4", "7", "9"]
    own = evaluate(runs("kagn"))
    matrix = np.array(found["confusion_matrix"])
    assert matrix[[4, 7, 9]].sum() == matrix.sum() == 18
    most = np.array(own["confusion_matrix"]).sum(0).argmax()
    assert matrix.sum(0).argmax() == most
    words = {f"digit {n}": n for n in range(10)}
    ten = evaluate(
        runs("kagn"), "data=folder", f"data.root={write_folder(tmp_path / 'ten', words)}"
    )
    assert ten["images"] == 60 and "they are taken for one another in this order" in caplog.text
    twice = evaluate(runs("kagn"), "data=folder", f"data.root={tmp_path / 'ten'}")
    assert twice["metrics"] == ten["metrics"]


@pytest.mark.parametrize(("ignored", "expected"), [(2, 0), (255, 255), (None, None)])
def test_pixels_that_are_ignored_are_so_under_other_numbers(ignored, expected) -> None:
    """A network may know the classes of other data in another order."""
    masks = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4) % 3
    data = TensorMasks(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), masks, ("cat", "dog", "ground"))
    data.ignore_index = ignored
    renamed = as_trained(Datasets(data, data, data), ("ground", "cat", "dog")).test
    assert renamed.ignore_index == expected
    assert torch.equal(renamed[0][1], (masks[0].long() + 1) % 3)


MISTAKES = {
    "split": (["--split", "tset"], "one of train, validation, test; did you mean 'test'?"),
    "key": (["data.rot=x"], "did you mean 'data.root'?"),
    "group": (["optimizer.lr=1"], "an evaluation does not read optimizer.lr"),
    "model": (["model=vgg"], "an evaluation does not read model"),
    "dataset": (["data=digitz"], "data=digitz does not exist; did you mean 'digits'?"),
    "word": (["digits"], "an override is KEY=VALUE"),
    "type": (["data.workers=many"], "data.workers='many': must be"),
    "classes": (["data=fashion_mnist", "data.download=false", "data.root=/no"], "fashion_mnist"),
    "masks": (["data=canvas", "data.source=digits", "data.count=20"], "the network knows 10"),
    "size": (["data.image_size=0"], "data.image_size=0: must be a side"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence(mistake: str, runs, capsys, tmp_path: Path) -> None:
    arguments, words = MISTAKES[mistake]
    with pytest.raises(SystemExit) as stop:
        main([str(runs("kagn")), *arguments, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_settings_do_not_overwrite_an_evaluation(runs, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "draw_each", lambda *_: [])
    run, out = str(runs("kagn")), ["--out", str(tmp_path)]
    main([run, *out])
    main([run, *out])
    main([run, *out, "trainer.evaluation_batch_size=7"])
    names = sorted(path.name for path in tmp_path.glob("*.json"))
    assert names == ["digits-test-2.json", "digits-test.json"]


SCRIPTS = {
    'launch("cifar")': True,
    'experiments.app.launch("cifar")': True,
    'launch("cifar", get_data)': False,
    'launch("cifar", get_data=own)': False,
    "from elsewhere import main\nmain()": False,
    'launch("cifar")\nlaunch("cifar", own)': False,
    "def get_data(cfg):\n    return own(cfg)\nlaunch('cifar', get_data)": False,
    "def get_data(cfg):\n    from experiments.data import load_datasets\n"
    "    return load_datasets(cfg.data)\nlaunch('cifar', get_data)": True,
    "def get_data(": False,
}


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_script_that_registers_a_network_alone_needs_no_get_data(
    text: str, tmp_path: Path
) -> None:
    script = tmp_path / "my.py"
    script.write_text(text)
    assert names_its_data(script) is SCRIPTS[text]
