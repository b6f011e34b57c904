"""Datasets by name: what is read, and what is said when it is missing or damaged."""

from __future__ import annotations

import errno
import gzip
import hashlib
import multiprocessing
import os
import pickle
import re
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from generated_data import write_idx, write_idx_dataset
from torchvision.datasets import CIFAR10, FashionMNIST

from experiments.config.data import DataConfig
from experiments.data import DATASETS, describe_images, download, load_datasets
from experiments.data.containers import labels_of
from experiments.data.download import WITH_MASKS, Source, ensure_present
from experiments.data.idx import IDX_FILES, read_idx
from experiments.errors import DataError, UserError


def test_an_unknown_name_names_the_nearest_and_lists_all():
    with pytest.raises(DataError) as caught:
        load_datasets(DataConfig(name="cifr10"))
    assert "data.name='cifr10' is not known; did you mean 'cifar10'? Choose" in str(caught.value)
    assert all(name in str(caught.value) for name in DATASETS)
    with pytest.raises(DataError, match=r"'xyzzy' is not known\. Choose one of"):
        load_datasets(DataConfig(name="xyzzy"))


def test_digits_are_32_pixels_grey_and_ten_classes(digits):
    image, label = digits.train[0]
    assert image.dtype == torch.uint8 and image.shape == (1, 32, 32) and isinstance(label, int)
    assert image.max() > 200 and digits.train.classes == list("0123456789")


# ------------------------------------------------------------------------------------ idx files
@pytest.mark.parametrize("place", ["", "fashion_mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_found_where_people_keep_it(tmp_path, no_network, place, suffix):
    write_idx_dataset(tmp_path / place, suffix)
    splits = load_datasets(DataConfig(name="fashion_mnist", root=str(tmp_path)))
    assert [len(part) for part in splits] == [36, 4, 10] and not no_network
    assert splits.train.classes == FashionMNIST.classes
    assert splits.test[3][0].shape == (1, 28, 28) and splits.test[3][1] == 3


def test_idx_values_are_those_that_were_written(tmp_path):
    values = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(read_idx(write_idx(tmp_path / "a.gz", values), values.ndim), values)


def truncated_gzip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def truncated_values(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-20]))


def not_gzip(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def not_idx(path: Path) -> None:
    path.write_bytes(gzip.compress(b"hello"))


def flipped_byte(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(raw)


def header(*sizes: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        values = struct.pack(f">{len(sizes)}I", *sizes)
        path.write_bytes(gzip.compress(b"\0\0\x08" + bytes([len(sizes)]) + values + bytes(40)))

    return write


@pytest.mark.parametrize("damage", [
    truncated_gzip, truncated_values, not_gzip, not_idx, flipped_byte,
    header(2**31, 2**31, 4), header(2**32 - 1, 2**32 - 1, 2**32 - 1), header(0, 28, 28),
    header(*[1] * 80), header(40),
])  # fmt: skip
def test_a_damaged_idx_file_is_named(tmp_path, damage):
    write_idx_dataset(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    damage(path)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*delete it"):
        load_datasets(DataConfig(name="mnist", root=str(tmp_path)))


def test_a_file_that_the_machine_cannot_read_is_not_to_be_deleted(tmp_path, monkeypatch):
    write_idx_dataset(tmp_path)
    for number, words in ((errno.EMFILE, "too many files are open"), (errno.EACCES, "let this")):

        def refuse(path, number=number):
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(UserError, match=words) as caught:
            load_datasets(DataConfig(name="mnist", root=str(tmp_path)))
        assert "delete" not in str(caught.value)


def test_images_and_labels_of_different_counts_are_refused(tmp_path):
    write_idx_dataset(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.zeros(39))
    with pytest.raises(DataError, match=r"train-images.*\(40, 28, 28\) does not match labels \(39"):
        load_datasets(DataConfig(name="mnist", root=str(tmp_path)))
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.full(40, 10))
    with pytest.raises(DataError, match=r"train-labels.*label 10 of 10 classes"):
        load_datasets(DataConfig(name="mnist", root=str(tmp_path)))


# ---------------------------------------------------------------------------------- missing data
OF_PACKAGES = ("canvas", "digits", "imagenet_hub", "mni152", "mnist5k", "tiny_imagenet_hub")


@pytest.mark.parametrize("name", [n for n in DATASETS if n not in OF_PACKAGES])
@pytest.mark.parametrize("download", [True, False])
def test_missing_data_gives_one_message_with_place_files_and_a_way_on(
    tmp_path, monkeypatch, no_network, capfd, name, download
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load_datasets(DataConfig(name=name, root="absent", download=download))
    message = str(caught.value)
    assert f"dataset {name!r} is not in" in message and str(tmp_path / "absent") in message
    free = "canvas" if name in WITH_MASKS else "digits"
    assert "Expected there: " in message and f"data={free}," in message
    assert len(message.splitlines()) == 3
    assert bool(no_network) == (download and name not in ("folder", "imagenet", "mask_folder"))
    if no_network:
        assert "name resolution" in message
    assert "Traceback" not in capfd.readouterr().err


def test_expected_files_are_listed(tmp_path):
    with pytest.raises(DataError) as caught:
        load_datasets(DataConfig(name="mnist", root=str(tmp_path), download=False))
    assert all(name in str(caught.value) for name in IDX_FILES)
    assert "data.download=false" in str(caught.value)


def test_a_root_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"downloading failed.*(File exists|Not a directory)"):
        load_datasets(DataConfig(name="cifar10", root=str(tmp_path / "file")))


# ----------------------------------------------------------------------------------------- CIFAR
def write_cifar10(root: Path, monkeypatch) -> Path:
    """Write tiny batches in the published format and make torchvision expect their checksums."""
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(name: str, value: dict) -> str:
        (folder / name).write_bytes(pickle.dumps(value))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(name: str) -> list[str]:
        data = generator.integers(0, 256, (20, 3072)).astype(np.uint8)
        return [name, write(name, {"data": data, "labels": [i % 10 for i in range(20)]})]

    monkeypatch.setattr(CIFAR10, "train_list", [batch(name) for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    names = {"label_names": [f"thing {i}" for i in range(10)]}
    meta = {**CIFAR10.meta, "md5": write(CIFAR10.meta["filename"], names)}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return folder


def test_cifar10_is_held_as_published(tmp_path, monkeypatch, no_network):
    folder = write_cifar10(tmp_path, monkeypatch)
    cfg = DataConfig(name="cifar10", root=str(tmp_path))
    splits = load_datasets(cfg)
    assert [len(part) for part in splits] == [90, 10, 20] and not no_network
    stored = pickle.loads((folder / "test_batch").read_bytes())
    image, label = splits.test[7]
    assert np.array_equal(image.numpy(), stored["data"][7].reshape(3, 32, 32)) and label == 7
    info = describe_images(splits.train, cfg)
    assert splits.train.classes[3] == "thing 3" and info.mean == (0.4914, 0.4822, 0.4465)


def test_a_damaged_cifar_file_is_named(tmp_path, monkeypatch):
    path = write_cifar10(tmp_path, monkeypatch) / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*delete it"):
        load_datasets(DataConfig(name="cifar10", root=str(tmp_path)))


def test_a_cifar_archive_is_unpacked_without_network_or_permission(tmp_path, monkeypatch):
    folder = write_cifar10(tmp_path, monkeypatch)
    archive = tmp_path / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    for path in folder.iterdir():
        path.unlink()
    splits = load_datasets(DataConfig(name="cifar10", root=str(tmp_path), download=False))
    assert len(splits.test) == 20


@pytest.mark.parametrize("download", [True, False])
def test_a_damaged_cifar_archive_is_named(tmp_path, download):
    archive = tmp_path / CIFAR10.filename
    archive.write_bytes(b"half of it")
    with pytest.raises(DataError, match=re.escape(str(archive)) + ".*delete it"):
        load_datasets(DataConfig(name="cifar10", root=str(tmp_path), download=download))


def test_labels_of_all_splits_agree_with_items(tmp_path):
    write_idx_dataset(tmp_path)
    for part in load_datasets(DataConfig(name="mnist", root=str(tmp_path))):
        assert labels_of(part).tolist() == [part[i][1] for i in range(len(part))]


# ------------------------------------------------------------------------------- many processes
def _download(root: Path, works: bool, start, waiting, answers) -> None:
    class Announced(FileLock):
        """Counts who waits for it."""

        def acquire(self, *args, blocking=True, **kwargs):
            if blocking:
                with waiting.get_lock():
                    waiting.value += 1
            return super().acquire(*args, blocking=blocking, **kwargs)

    def fetch() -> None:
        with attempts.open("a") as file:
            file.write("x")
        while waiting.value < 2 and attempts.read_text() == "x":
            time.sleep(0.01)
        if not works:
            raise OSError("no network")
        (root / "data").touch()

    attempts = root / "attempts"
    download.FileLock = Announced
    source = Source("some", root, ["data"], [root], (root / "data").exists, fetch)
    start.wait()
    try:
        ensure_present(source, True)
        answers.put("present")
    except DataError as error:
        answers.put(str(error))


@pytest.mark.parametrize("works", [True, False])
def test_one_process_fetches_while_the_others_wait(tmp_path, works):
    fork = multiprocessing.get_context("fork")
    start, waiting, answers = fork.Barrier(3), fork.Value("i", 0), fork.Queue()
    args = (tmp_path, works, start, waiting, answers)
    processes = [fork.Process(target=_download, args=args) for _ in range(3)]
    for process in processes:
        process.start()
    given = [answers.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    assert (tmp_path / "attempts").read_text() == "x"
    if works:
        assert given == ["present"] * 3
    else:
        assert sum("no network" in answer for answer in given) == 1
        assert sum("another process could not download it" in answer for answer in given) == 2
