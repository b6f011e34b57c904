"""Images or volumes through a trained network, batch by batch; one that cannot be read stops no
other."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from experiments.errors import DataError
from experiments.machine import usable_cores
from experiments.tasks.answers import Answering
from experiments.usage.load import LoadedRun
from experiments.usage.sources import Wanted

MOST_UNCERTAIN = 24


@dataclass(frozen=True)
class Answer:
    """What the network says of one image or volume. image: admitted, at its own size. output: of
    the image alone, without the border of data.resize=pad."""

    wanted: Wanted
    image: Any
    output: Tensor


@dataclass(frozen=True)
class Drawn:
    """An answer to be looked at: the picture with what was found in it, and words below it."""

    name: str
    picture: Image.Image
    caption: str


@dataclass
class Outcome:
    """What has been answered: rows of the table, how often which answer, why files were not read.

    what: the word for what was read. least: of the least certain (-certainty, -number, drawn), a
    heap of MOST_UNCERTAIN; what was drawn is kept of them, for an output may be a large volume.
    """

    what: str = "image"

    rows: list[list[Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: dict[str, str] = field(default_factory=dict)
    least: list[tuple[float, int, Drawn]] = field(default_factory=list)

    def least_certain(self) -> list[Drawn]:
        """Those of whose answers the network is least sure, the least of all first."""
        return [drawn for *_, drawn in sorted(self.least, key=lambda e: e[:2], reverse=True)]

    def take(self, run: LoadedRun, answer: Answer, files: Sequence[Path], top: int) -> None:
        """Add the row of an image, and draw it if it is among the least certain."""
        output = answer.output
        names = [str(file) for file in files]
        self.rows.append([str(answer.wanted.path), *names, *run.answers.row(output, top)])
        self.counts[run.answers.answer(output)] += 1
        certainty = run.answers.certainty(output)
        if certainty is None:
            return
        place, full = (-certainty, -len(self.rows)), len(self.least) == MOST_UNCERTAIN
        if not full or place > self.least[0][:2]:
            picture = run.transform.draw(run.answers, answer.image, output)
            drawn = Drawn(answer.wanted.path.name, picture, run.answers.caption(output))
            push = heapq.heapreplace if full else heapq.heappush
            push(self.least, (*place, drawn))

    def tell_unread(self) -> str:
        """The files that could not be read, in words."""
        count = len(self.rows) + len(self.unread)
        lines = [f"{len(self.unread)} of {count} {self.what}s could not be read:"]
        return "\n".join([*lines, *(f"  {reason}" for reason in self.unread.values())])


def answer_all(
    run: LoadedRun,
    network: Answering,
    batches: Iterable[Sequence[Wanted]],
    unread: dict[str, str],
) -> Iterator[Answer]:
    """Yield the answer of every image that can be read; `unread` takes the reasons of the others.

    Of one batch those of one shape that follow each other go through the network together.
    """
    device = next(iter(network.parameters())).device
    with ThreadPoolExecutor(usable_cores()) as pool:
        for batch in batches:
            read = _read_all(run, batch, pool, unread)
            for _, group in groupby(read, key=lambda item: item[-1].shape):
                alike = list(group)
                inputs = torch.stack([tensor for *_, tensor in alike])
                with torch.inference_mode():
                    outputs = network(inputs.to(device)).float().cpu()
                for (wanted, image, _), output in zip(alike, outputs, strict=True):
                    yield Answer(wanted, image, run.transform.inside(run.answers, image, output))


def _read_all(
    run: LoadedRun, batch: Sequence[Wanted], pool: Executor, unread: dict[str, str]
) -> list[tuple[Wanted, Any, Tensor]]:
    """(which, the image at its own size, the input) of the images that can be read."""

    def read(wanted: Wanted) -> tuple[Any, Tensor] | str:
        try:
            image = run.transform.admit(wanted.path)
            return image, run.transform.prepare(image)
        except DataError as error:
            text, path = str(error), str(wanted.path)
            return text if path in text else f"{path}: {text}"

    found = []
    for wanted, result in zip(batch, pool.map(read, batch), strict=True):
        if isinstance(result, str):
            unread[str(wanted.path)] = result
        else:
            found.append((wanted, *result))
    return found


def write_files(run: LoadedRun, answer: Answer, place: Path) -> list[Path]:
    """Write the files of an answer as place_WORD.SUFFIX; return their paths. Raises: OSError."""
    if not run.answers.written:
        return []
    place.parent.mkdir(parents=True, exist_ok=True)
    return run.transform.write(run.answers, answer.image, answer.output, place)
