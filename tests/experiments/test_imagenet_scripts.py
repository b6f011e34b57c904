"""imagenet.py and tiny_imagenet.py from files to a result, and what they say without any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import forks
from tests.experiments.data.generated_data import jpeg, write_shards
from tests.forks import Command

SMALL = [
    "model=simple_conv_kagn", "model.layer_sizes=[4,4,8,8]", "augment=none", "data.image_size=16",
    "data.workers=0", "data.validation_fraction=0.2", "trainer.epochs=1", "trainer.batch_size=8",
    "trainer.cpu=true", "trainer.progress=false", "name=run",
]  # fmt: skip
CLASSES = ("n01", "n02", "n03")


def write_imagenet(root: Path, counts=(("train", 10), ("val", 2)), inner: str = "") -> None:
    for split, count in counts:
        for place, wnid in enumerate(CLASSES):
            folder = root / split / wnid / inner
            folder.mkdir(parents=True)
            for number in range(count):
                grey = 80 * place + number
                (folder / f"{wnid}_{number}.JPEG").write_bytes(jpeg(grey, (20, 16)))


def write_tiny(root: Path) -> None:
    write_imagenet(root, (("train", 10),), "images")
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for number in range(6):
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg(number, (16, 16)))
        lines.append(f"val_{number}.JPEG\t{CLASSES[number % 3]}\t0\t0\t9\t9\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(CLASSES))
    (root / "words.txt").write_text("n01\tgoldfish\nn02\ttree frog\nn03\twombat\n")


def test_scripts_train_on_folders_and_on_shards(tmp_path: Path) -> None:
    write_imagenet(tmp_path / "folders")
    write_tiny(tmp_path / "tiny")
    write_shards(tmp_path / "shards", "train", [12, 8, 10], size=(16, 16))
    write_shards(tmp_path / "shards", "val", [6], size=(16, 16))
    commands = {
        f"{script} {data}": [f"{script}.py", f"data.root={tmp_path}/{data}", *SMALL]
        for script, data in (
            ("imagenet", "folders"), ("imagenet", "shards"),
            ("tiny_imagenet", "tiny"), ("tiny_imagenet", "shards"),
        )
    }  # fmt: skip
    runs = [Command([*a, f"runs_dir={tmp_path}/{name}"]) for name, a in commands.items()]
    for name, (done,) in zip(commands, forks.run_together(*runs), strict=True):
        assert done.returncode == 0, done.stderr
        (run,) = (tmp_path / name / "run").iterdir()
        test = json.loads((run / "test.json").read_text())
        assert sum(map(sum, test["confusion_matrix"])) == 6
        names = {"tiny_imagenet tiny": ["goldfish", "tree frog", "wombat"]}
        other = ["0", "1", "2"] if "shards" in name else list(CLASSES)
        assert test["class_names"] == names.get(name, other)


@pytest.mark.parametrize("script, expected", [
    ("imagenet", ["train/<wnid>/*.JPEG", "shards: NAME-train-0000.tar", "cannot be downloaded"]),
    ("tiny_imagenet", ["val/val_annotations.txt", "shards: NAME-train", "data.download=false"]),
])  # fmt: skip
def test_scripts_say_what_is_missing(tmp_path: Path, script: str, expected: list[str]) -> None:
    options = [f"data.root={tmp_path}/absent", "data.download=false", f"runs_dir={tmp_path}/runs"]
    (done,) = forks.run(f"{script}.py", *options, *SMALL)
    assert done.returncode == 2 and "Traceback" not in done.stderr + done.stdout
    for words in (f"error: dataset '{script}' is not in {tmp_path}/absent", *expected):
        assert words in done.stderr
    assert not (tmp_path / "runs").exists()


# Both processes index the same shards at the same time, then read an epoch of each loader. Pixels
# are told by their grey level, which numbers the samples.
READ = """
import json, os, sys
from experiments.config.compose import load_config
from experiments.data import EvaluationLoader, Sampling, TrainLoader, load_datasets
from experiments.tasks.base import create_task
from experiments.data.admit import admit

config = load_config("imagenet", sys.argv[1:])
data = admit(load_datasets(config.data), config)
recipe = create_task(config, data).recipe(training=False)
place = {"rank": int(os.environ["RANK"]), "world_size": 2}
train = TrainLoader(
    data.train, recipe, batch_size=8, accumulation=2, sampling=Sampling.of(0), **place
)
batches = [batch for step in train.epoch(0) for batch in step]
batches += EvaluationLoader(data.validation, recipe, batch_size=4, **place)
batches += EvaluationLoader(data.test, recipe, batch_size=4, **place)
mean, std = (float(v[0]) for v in (recipe.finish.pipeline.normalise.transforms[1].mean,
                                   recipe.finish.pipeline.normalise.transforms[1].std))
print(json.dumps([[round((image[0].max().item() * std + mean) * 255), label]
                  for images, labels in batches for image, label in zip(images, labels.tolist())]))
"""


def test_two_processes_read_every_sample_of_the_shards_once(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", "train", [17, 3, 20], size=(16, 16))
    write_shards(tmp_path / "shards", "val", [5, 6], size=(16, 16), first=100)
    options = [f"data.root={tmp_path}/shards", *SMALL]
    ended = forks.run("-c", READ, *options, processes=2)
    assert [process.returncode for process in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    read = [item for process in ended for item in json.loads(process.stdout.splitlines()[-1])]
    assert sorted(number for number, _ in read) == [*range(40), *range(100, 111)]
    assert all(label == number % 3 for number, label in read)
    assert len(list((tmp_path / "shards").glob("*.index.json"))) == 5
