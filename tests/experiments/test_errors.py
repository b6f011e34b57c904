"""What runs out is told in words, and near keys are near."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from experiments.errors import ResourceError, in_words, near_keys, nearest, shortage


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/file")


CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes. Error code 12"
SHORT = [
    (system(errno.ENOSPC), "the disk is full: [Errno 28]", "Free space"),
    (system(errno.EDQUOT), "the disk is full", "Free space"),
    (system(errno.EMFILE), "too many files are open", "ulimit -n"),
    (system(errno.ENFILE), "too many files are open", "ulimit -n"),
    (system(errno.EFBIG), "a file has become larger", "ulimit -f"),
    (system(errno.ENOMEM), "memory has run out", "trainer.batch_size"),
    (system(errno.EAGAIN), "no more processes or threads", "ulimit -u"),
    (system(errno.EROFS), "a disk cannot be read or written", "mounted"),
    (MemoryError(), "memory has run out\n", "trainer.accumulation"),
    (MemoryError("Unable to allocate 9 GiB"), "memory has run out: Unable", "data.workers"),
    (RuntimeError(CPU), "memory has run out: Default", "trainer.batch_size"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "memory has run out", "image_size"),
    (RuntimeError("unable to open shared memory </torch_1>: Too many open files (24)"),
     "too many files are open", "data.workers"),
    (RuntimeError("can't start new thread"), "no more processes or threads", "ulimit -u"),
    (RuntimeError("File too large (os error 27)"), "a file has become larger", "ulimit -f"),
]  # fmt: skip


@pytest.mark.parametrize("error, what, way", SHORT)
def test_what_has_run_out_is_told_with_a_way_on(error: Exception, what: str, way: str) -> None:
    found = shortage(error)
    assert found is not None and str(found).startswith(what) and way in str(found)
    with pytest.raises(ResourceError, match="^" + what.partition(":")[0].strip()), in_words():
        raise error


@pytest.mark.parametrize("error", [
    system(errno.EACCES), system(errno.ENOENT), ValueError("out of memory"), OSError("no number"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("memory"), "a text",
])  # fmt: skip
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert shortage(error) is None
    if isinstance(error, Exception):
        with pytest.raises(type(error)), in_words():
            raise error


@pytest.mark.parametrize("word, meant", [
    ("optimizr.lr", ["optimizer.lr"]),
    ("optimizer.lrr", ["optimizer.lr"]),
    ("OPTIMIZER.LR", ["optimizer.lr"]),
    ("lr", ["optimizer.lr"]),
    ("trainer.lr", ["optimizer.lr"]),
    ("size", ["data.image_size", "trainer.batch_size"]),
    ("batch-size", ["trainer.batch_size"]),
    ("trainer.patience", []),  # its group is alike, its last part is not
    ("optimizer.lr.x", []),
    ("", []),
])  # fmt: skip
def test_dotted_keys_are_compared_part_by_part(word: str, meant: list[str]) -> None:
    keys = ["optimizer", "optimizer.lr", "data.image_size", "trainer.batch_size"]
    assert near_keys(word, keys, 3) == meant


def test_a_suggestion_is_one_word() -> None:
    assert nearest("vggkagnn", ["vggkan", "vggkagn"]) == "; did you mean 'vggkagn'?"
    assert nearest("nix", ["mnist"]) == ""
