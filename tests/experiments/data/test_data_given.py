"""Whatever get_data returns: the pixels that were given reach the network, or one sentence is said.

Two tables of kinds, right and wrong, and two of folders.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_data import write_deep_png, write_images, write_tree
from PIL import Image
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset

from experiments.app import exit_with_message, run
from experiments.config.compose import load_config
from experiments.config.schema import Config
from experiments.data import EvaluationLoader, Sampling, TrainLoader, complete_splits, load_datasets
from experiments.data.admit import admit
from experiments.data.containers import in_memory, labels_of
from experiments.data.given import as_dataset
from experiments.tasks.base import create_task
from experiments.tasks.classification import Classification

NAMES = ["ant", "bee"]
COUNT = 12  # images of a split
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 9), dtype=np.uint8)
LABELS = [i % 2 for i in range(COUNT)]
BASE = load_config(
    "cifar",
    ["data=digits", "augment=none", "trainer.batch_size=4", "data.image_size=8",
     "trainer.progress=false", "model.layer_sizes=[4,4,8,8]", "trainer.limit_steps=1",
     "trainer.epochs=1"],
)  # fmt: skip


def config(**data) -> Config:
    cfg = copy.deepcopy(BASE)
    for key, value in data.items():
        setattr(cfg.data, key, value)
    return cfg


def hwc(side: int = 8) -> np.ndarray:
    """The pixels as numpy has pictures, squares: (N, H, W, C)."""
    return np.ascontiguousarray(PIXELS[:, :, :, :side].transpose(0, 2, 3, 1))


CHW = np.ascontiguousarray(PIXELS[:, :, :, :8])
GREY = CHW[:, 0]
WORDS = [NAMES[label] for label in LABELS]


class Own:
    """A dataset of one's own, of items by index."""

    def __init__(self, items: list, **more) -> None:
        self.items = items
        self.__dict__.update(more)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


class Once:
    """Something with a length that one can only iterate over."""

    def __init__(self, items: list, length: int | None = None) -> None:
        self.items, self.length = items, len(items) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        return iter(self.items)


class Stream(IterableDataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self):
        return iter(self.items)


def items(images=None, labels=None) -> list:
    return list(zip(CHW if images is None else images, labels or LABELS, strict=True))


def pils(mode: str = "RGB") -> list[Image.Image]:
    return [Image.fromarray(picture).convert(mode) for picture in hwc()]


def rows(image: str = "image", label: str = "label", labels=None, **more) -> list[dict]:
    pairs = zip(pils(), labels or LABELS, strict=True)
    return [{"id": i, image: one, label: other, **more} for i, (one, other) in enumerate(pairs)]


def hugging_face(form: str | None = None):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    made = datasets.Dataset.from_dict({"img": pils(), "label": LABELS}, features=features)
    return made.with_format(form)


RIGHT = {
    "items of numpy (C, H, W)": lambda: items(),
    "items of numpy (H, W, C)": lambda: items(hwc()),
    "items of numpy (H, W)": lambda: items(GREY),
    "items of torch": lambda: items(torch.from_numpy(CHW)),
    "items of PIL": lambda: items(pils()),
    "items in tuples": lambda: tuple(items()),
    "items with numpy labels": lambda: items(labels=list(np.array(LABELS))),
    "items in a deque": lambda: deque(items()),
    "items of floats": lambda: items(CHW / 255),
    "items of big-endian 16 bits": lambda: items((CHW.astype(np.uint16) * 257).astype(">u2")),
    "items that look backwards": lambda: items(CHW[:, :, ::-1][:, :, ::-1]),
    "a dataset of one's own": lambda: Own(items(hwc())),
    "a part of it": lambda: Subset(Own(items()), range(COUNT)),
    "several of it": lambda: ConcatDataset([Own(items()[:5]), Own(items()[5:])]),
    "tensors": lambda: TensorDataset(torch.from_numpy(CHW), torch.tensor(LABELS)),
    "a pair of numpy (N, H, W, C)": lambda: (hwc(), np.array(LABELS)),
    "a pair of numpy (N, C, H, W)": lambda: [CHW, LABELS],
    "a pair of numpy (N, H, W)": lambda: (GREY, np.array(LABELS, np.uint8)),
    "a pair of torch": lambda: (torch.from_numpy(CHW), torch.tensor(LABELS)),
    "a pair of torch (N, H, W)": lambda: (torch.from_numpy(GREY), torch.tensor(LABELS)),
    "a pair of lists": lambda: (pils(), LABELS),
    "a pair with names": lambda: (hwc(), WORDS),
    "a pair with an array of names": lambda: (torch.from_numpy(CHW), np.array(WORDS)),
    "a dict of columns": lambda: {"x": hwc(), "y": LABELS},
    "items with names": lambda: items(labels=WORDS),
    "a dataset with names": lambda: Own(items(labels=WORDS), targets=WORDS),
    "rows": lambda: rows(),
    "rows of other words": lambda: Own(rows("photo", "kind")),
    "rows with names": lambda: rows(labels=WORDS),
    "Hugging Face": lambda: hugging_face(),
    "Hugging Face, numpy": lambda: hugging_face("numpy"),
    "Hugging Face, torch": lambda: hugging_face("torch"),
    "something to iterate over": lambda: Once(items()),
    "a stream of torch": lambda: Stream(items(hwc())),
}
COLUMNS = {"rows of other words": {"label_column": "kind"}}


def expected(kind: str) -> torch.Tensor:
    """The pixels in [0, 1]. Shape: (N, C, 8, 8) float64."""
    grey = "(H, W)" in kind or "(N, H, W)" in kind
    return torch.from_numpy(GREY[:, None] if grey else CHW).double() / 255


def batches(data, cfg: Config):
    """(inputs in [0, 1], labels) of every split as the loaders give them to a network."""
    task = create_task(cfg, data)
    mean, std = (
        torch.tensor(value).double()[:, None, None] for value in (task.info.mean, task.info.std)
    )
    place = {"rank": 0, "world_size": 1}
    train = TrainLoader(
        data.train, task.recipe(True), batch_size=4, accumulation=1, sampling=Sampling.of(0),
        **place,
    )  # fmt: skip
    order = train._schedule.order(0)
    read = {"train": [micro for step in train.epoch(0) for micro in step]}
    for split in ("validation", "test"):
        loader = EvaluationLoader(getattr(data, split), task.recipe(False), batch_size=5, **place)
        read[split] = list(loader)
    for split, parts in read.items():
        images = torch.cat([images.double() for images, _ in parts]) * std + mean
        labels = torch.cat([labels for _, labels in parts])
        yield (images, labels, order if split == "train" else np.arange(len(labels)))


@pytest.mark.parametrize("kind", RIGHT)
def test_the_pixels_that_are_given_reach_the_network(kind: str) -> None:
    cfg = config(**COLUMNS.get(kind, {}))
    data = admit((RIGHT[kind](), RIGHT[kind](), RIGHT[kind]()), cfg)
    for images, labels, order in batches(data, cfg):
        torch.testing.assert_close(images, expected(kind)[order], atol=1e-6, rtol=0)
        assert labels.tolist() == np.array(LABELS)[order].tolist()
    if "names" in kind or "Hugging" in kind:
        assert list(data.train.classes) == NAMES


@pytest.mark.parametrize("kind", ["a pair of numpy (N, H, W, C)", "a pair with names"])
def test_pairs_are_held_in_memory_and_read_in_whole_batches(kind: str) -> None:
    data = admit(tuple(RIGHT[kind]() for _ in range(3)), config())
    held, _ = in_memory(data.train)
    assert held.images.shape == (COUNT, 3, 8, 8) and held.targets.dtype == torch.int64


@pytest.mark.parametrize("kind", ["Hugging Face", "a pair with names", "rows with names"])
def test_two_splits_of_any_kind_become_three(kind: str) -> None:
    cfg = config(validation_fraction=0.25)
    data = admit(complete_splits(cfg.data, RIGHT[kind](), RIGHT[kind]()), cfg)
    assert [len(part) for part in data] == [9, 3, 12]
    assert sorted(np.bincount(labels_of(data.validation)).tolist()) == [1, 2]
    assert labels_of(data.test).tolist() == LABELS


def test_splits_by_name_are_three() -> None:
    data = admit({"Train": items(), "valid": items()[:8], "test": items()[:4]}, config())
    assert [len(part) for part in data] == [12, 8, 4]


def test_a_network_is_given_these_pixels_in_training(tmp_path: Path, monkeypatch) -> None:
    seen = []
    learn = Classification.training_loss

    def spy(task, model, inputs, targets):
        seen.append((inputs.double(), task.info))
        return learn(task, model, inputs, targets)

    monkeypatch.setattr(Classification, "training_loss", spy)
    cfg = config()
    cfg.runs_dir, cfg.name = str(tmp_path), "run"
    run(cfg, lambda cfg: ((hwc(), WORDS), items(pils(), WORDS), rows(labels=WORDS)))
    ((inputs, info),) = seen
    mean, std = (torch.tensor(each).double()[:, None, None] for each in (info.mean, info.std))
    known = {tuple(image.flatten().tolist()) for image in torch.from_numpy(CHW)}
    pixels = ((inputs * std + mean) * 255).round().to(torch.uint8)
    assert len(pixels) == 4 and {tuple(p.flatten().tolist()) for p in pixels} < known


# ------------------------------------------------------------------------------------------- wrong
def three(train=None, validation=None, test=None) -> tuple:
    return tuple(items() if part is None else part for part in (train, validation, test))


def one_wrong(image) -> tuple:
    """Three splits, the last image of whose test is another thing."""
    return three(test=[*items()[:-1], (image, 0)])


WRONG = {
    "nothing": (lambda: None, "returned None.*return"),
    "two splits": (lambda: (items(), items()), "2 values.*complete_splits"),
    "one split": (lambda: items(), "12 values"),
    "one array": (lambda: CHW, "returned ndarray"),
    "six arrays": (lambda: (CHW, LABELS) * 3, "6 values.*pairs"),
    "two splits by name": (lambda: {"train": 1, "test": 2}, r"train, test; .*data\['train'\]"),
    "no validation": (lambda: (items(), None, items()), "validation split is None.*complete_spl"),
    "a class": (lambda: three(test=Own), r"the class Own.*Own\(\.\.\.\)"),
    "a path": (lambda: three(test="photos"), "data=folder data.root"),
    "paths": (lambda: three([("a.png", 0)] * 12), "type str.*Image.open"),
    "encoded": (lambda: three([(b"GIF", 0)] * 12), "type bytes.*BytesIO"),
    "no labels": (lambda: three(CHW), r"one ndarray of shape \(12, 3, 8, 8\)"),
    "a set": (lambda: three({(1, 2)}), "a set, which has no order"),
    "all splits for one": (lambda: three({"train": 1, "test": 2}), r"data\['train'\]"),
    "a dict of nothing": (lambda: three({"a": 3}), "keys a: .*columns"),
    "too few labels": (lambda: three((CHW, LABELS[:-1])), "12 images and 11 labels"),
    "rows of numbers": (lambda: three((CHW[:, 0].reshape(12, 64), LABELS)), "-1, 8, 8"),
    "three in an item": (lambda: three([(CHW[0], 0, "a")] * 12), "tuple of 3"),
    "swapped": (lambda: three([(0, CHW[0])] * 12), "type int.*swapped"),
    "bools": (lambda: three(items(torch.from_numpy(CHW) > 9)), "bool.*image.float"),
    "bools in arrays": (lambda: three((CHW > 9, LABELS)), "bool.*image.float"),
    "floats to 255": (lambda: three(items(hwc().astype(float))), "image / 255"),
    "(H, W, C) of torch": (
        lambda: three(items(torch.from_numpy(hwc()))), r"\(8, 8, 3\).*permute\(2, 0, 1\)"),
    "(N, H, W, C) of torch": (
        lambda: three((torch.from_numpy(hwc()), LABELS)), r"permute\(0, 3, 1, 2\)"),
    "(H, W) of torch": (lambda: three(items(torch.from_numpy(GREY))), r"image\[None\]"),
    "unclear axes": (lambda: three(items(CHW[:, :, :, :3])), "does not tell the axis"),
    "unclear axes of all": (
        lambda: three((np.zeros((12, 8, 8, 8), np.uint8), LABELS)), "does not tell"),
    "no pixels": (lambda: one_wrong(torch.zeros(3, 0, 8)), "test image 11 .*no pixels"),
    "sparse": (lambda: one_wrong(torch.eye(8)[None].to_sparse()), "to_dense"),
    "elsewhere": (lambda: one_wrong(torch.zeros(3, 8, 8, device="meta")), "on meta.*cpu"),
    "texts for pixels": (lambda: one_wrong(np.array([["a", "b"]])), "holds no numbers"),
    "gaps": (lambda: three(items(labels=[7 + 500 * i for i in LABELS])), "2 classes.*return_inv"),
    "a name unknown to train": (
        lambda: three(items(labels=WORDS), items(labels=["beee"] * 12), items(labels=WORDS)),
        "validation image 0 .*'beee'.* did you mean 'bee'"),
    "names and numbers": (lambda: three(items(labels=[0, "ant"] * 6)), "'ant'.*are no names"),
    "columns without end": (lambda: three(rows(kind=1, label="sort")), "id, sort, kind.*label_col"),
    "rows without labels": (lambda: three([{"image": pils()[0]}] * 12), "label_column"),
    "rows that differ": (
        lambda: three([*rows()[:-1], {"image": pils()[0]}]), "row 11 has no column 'label'"),
    "a wrong length": (lambda: three(Once(items(), 13)), "length is 13, but it gives 12"),
    "a length too small": (lambda: three(Once(items(), 3)), "it gives more"),
    "a generator": (lambda: three(i for i in items()), "no length"),
    "a number": (lambda: three(test=3), "int, which has no length"),
}  # fmt: skip


def refused(cfg: Config, get_data, capsys) -> str:
    """What a command says: one line, and exit code 2."""
    with pytest.raises(SystemExit) as stop, exit_with_message():
        run(cfg, get_data)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


@pytest.mark.parametrize("kind", WRONG)
def test_everything_else_is_refused_in_a_sentence(kind: str, capsys, tmp_path: Path) -> None:
    make, words = WRONG[kind]
    cfg = config()
    cfg.runs_dir = str(tmp_path)
    said = refused(cfg, lambda cfg: make(), capsys)
    assert len(said.splitlines()) == 1
    assert re.search(words, said), said
    assert not list(tmp_path.iterdir())


def test_a_table_is_refused(capsys) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"path": ["a.png"], "label": [0]})
    assert "table.itertuples()" in refused(config(), lambda cfg: three(table), capsys)


def test_columns_that_there_are_not_are_refused(capsys) -> None:
    cfg = config(label_column="labe")
    assert "did you mean 'label'" in refused(cfg, lambda cfg: three(rows()), capsys)
    assert "no rows" in refused(cfg, lambda cfg: three(), capsys)


def test_a_few_missing_labels_are_a_warning(caplog) -> None:
    cfg = config()
    create_task(cfg, admit(three(*[items(labels=[0, 2] * 6)] * 3), cfg))
    assert "class 1 has no train images" in caplog.text


# ----------------------------------------------------------------------------------------- folders
def save(folder: Path, pictures: list[Image.Image], ext: str = "png", **options) -> None:
    for split in ("train", "test"):
        for i, picture in enumerate(pictures):
            place = folder / split / NAMES[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / f"{i:03d}.{ext}", **options)


def turned(root: Path) -> None:
    """Pictures that lie on their side, and a note in the file that says so."""
    exif = Image.Exif()
    exif[0x112] = 6
    save(root, [p.transpose(Image.Transpose.ROTATE_90) for p in pils()], exif=exif)


def transparent(root: Path) -> None:
    for picture in (pictures := pils("RGBA")):
        picture.putalpha(255)
    save(root, pictures)


def deep(root: Path) -> None:
    for split in ("train", "test"):
        for i, picture in enumerate(hwc()):
            place = root / split / NAMES[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            write_deep_png(place / f"{i:03d}.png", picture.astype(np.uint16) * 257)


def nested(root: Path) -> None:
    save(root, pils())
    for split in ("train", "test"):
        for name in NAMES:
            (root / split / name).rename(root / "inner")
            (root / split / name).mkdir()
            (root / "inner").rename(root / split / name / "day 1")


RIGHT_FOLDERS = {
    "png": lambda root: save(root, pils()),
    "tiff": lambda root: save(root, pils(), "tiff"),
    "bmp, capitals": lambda root: save(root, pils(), "BMP"),
    "a palette": lambda root: save(root, [p.quantize(256) for p in pils()]),
    "turned": turned,
    "transparent": transparent,
    "16 bits": deep,
    "nested": nested,
    "other words": lambda root: (save(root, pils()), (root / "train").rename(root / "Training")),
    "clutter": lambda root: (save(root, pils()), (root / "train/ant/.DS_Store").write_text("")),
}


@pytest.mark.parametrize("kind", RIGHT_FOLDERS)
def test_the_pixels_of_a_folder_reach_the_network(kind: str, tmp_path: Path) -> None:
    RIGHT_FOLDERS[kind](tmp_path)
    cfg = config(name="folder", root=str(tmp_path), validation_fraction=0.25)
    data = admit(load_datasets(cfg.data), cfg)
    *_, (images, labels, _) = batches(data, cfg)
    order = [i for label in (0, 1) for i in range(COUNT) if i % 2 == label]
    wanted = expected(kind)[order]
    if kind == "a palette":  # of 64 colours, which it holds exactly
        wanted = torch.stack([
            torch.from_numpy(np.array(pils()[i].quantize(256).convert("RGB"))).permute(2, 0, 1)
            for i in order
        ]).double() / 255  # fmt: skip
    torch.testing.assert_close(images, wanted, atol=1e-6, rtol=0)
    assert labels.tolist() == sorted(LABELS)


WRONG_FOLDERS = {
    "absent": (lambda root: None, "no such directory"),
    "a file": (lambda root: root.write_text(""), "a file, not a directory"),
    "empty": (lambda root: root.mkdir(), "no class directories"),
    "loose pictures": (lambda root: write_images(root, 3), "no class directories"),
    "no test": (lambda root: write_tree(root, ["train"]), "test does not exist"),
    "a class of test alone": (
        lambda root: (write_tree(root, ["train", "test"]), write_images(root / "test/cow", 1)),
        "test/cow is a class that"),
    "one class": (lambda root: write_tree(root, ["train", "test"], ("ant",)), "class 'ant'"),
    "several sizes": (
        lambda root: (write_tree(root, ["train", "test"]),
                      write_images(root / "train/ant", 9, size=(9, 7))),
        "data.image_size=64"),
    "damaged": (
        lambda root: (write_tree(root, ["train", "test"]),
                      [p.write_bytes(p.read_bytes()[:60]) for p in root.glob("test/*/*.png")]),
        "test/ant/000.png: .*replace or delete"),
    "a page for a picture": (
        lambda root: (write_tree(root, ["train", "test"]),
                      [path.write_text("<html>") for path in root.glob("test/*/*.png")]),
        "no picture that Pillow knows"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_FOLDERS)
def test_folders_that_cannot_be_read_are_refused(kind: str, tmp_path: Path, capsys) -> None:
    make, words = WRONG_FOLDERS[kind]
    make(tmp_path / "data")
    cfg = config(name="folder", root=str(tmp_path / "data"), image_size=None)
    said = refused(cfg, lambda cfg: load_datasets(cfg.data), capsys)
    assert re.search(words, said), said


def test_a_list_of_two_items_is_no_pair_of_images_and_labels() -> None:
    pair = [[CHW[0], GREY[0]], [CHW[1], GREY[1]]]  # images with masks
    assert as_dataset(pair, config().data, "train") is pair
