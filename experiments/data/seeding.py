"""Randomness as a pure function of what is drawn for, so that a run can restart anywhere.

A resumed run must see the images that the uninterrupted run would have seen. No generator is
therefore carried from one sample to the next: each sample and each batch gets its own seed from
its own coordinates (run seed, epoch, index, ...).
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Sampling:
    """What is drawn for the training images: seeds of three streams, and copies of an image.

    shuffle: the order of an epoch; augment: the changes of each image; mixup: the mixing of
    batches. repeats: an epoch takes so many copies of an image, of so many images fewer. classes:
    of each image, where an epoch is to take as many of each class.
    """

    shuffle: int = 0
    augment: int = 0
    mixup: int = 0
    repeats: int = 1
    classes: np.ndarray | None = None

    @classmethod
    def of(cls, seed: int, repeats: int = 1) -> Sampling:
        """One seed for all streams."""
        return cls(seed, seed, seed, repeats)


def derive_seed(*coordinates: int) -> int:
    """Return a 64-bit seed: the BLAKE2b hash of the coordinates, the same on every platform."""
    packed = struct.pack(f"<{len(coordinates)}q", *coordinates)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


def seed_generators(seed: int) -> None:
    """Seed torch's CPU generator, numpy's and Python's global ones.

    Not `torch.manual_seed`, which would also reset the accelerator's generator, from which dropout
    draws in this same process when data.workers=0.
    """
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    random.seed(seed)


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Give the three global generators back to the caller in the state in which they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operations on one thread, as torch does in a loader's workers.

    Images are small: waiting for more threads costs several times the work. And the last bit of a
    sum over a whole image would depend on how many there are, hence on data.workers.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
