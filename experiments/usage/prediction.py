"""Images through a trained network, batch by batch; one that cannot be read stops no other."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.errors import DataError
from experiments.files import atomic_path
from experiments.machine import usable_cores
from experiments.tasks.answers import Answering
from experiments.usage.load import LoadedRun
from experiments.usage.sources import Wanted
from experiments.usage.transform import picture_of, sides_of

MOST_UNCERTAIN = 24


@dataclass(frozen=True)
class Answer:
    """What the network says of one image. image: admitted, at its own size. output: of the image
    alone, without the border of data.resize=pad."""

    wanted: Wanted
    image: Any
    output: Tensor


@dataclass
class Outcome:
    """What has been answered: rows of the table, how often which answer, why files were not read.

    least: of the least certain images (-certainty, -number, answer), a heap of MOST_UNCERTAIN.
    """

    rows: list[list[Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: dict[str, str] = field(default_factory=dict)
    least: list[tuple[float, int, Answer]] = field(default_factory=list)

    def least_certain(self) -> list[Answer]:
        """The images of whose answers the network is least sure, the least of all first."""
        return [answer for *_, answer in sorted(self.least, key=lambda e: e[:2], reverse=True)]

    def take(self, run: LoadedRun, answer: Answer, files: Sequence[Path], top: int) -> None:
        """Add the row of an image, and keep it if it is among the least certain."""
        output = answer.output
        names = [str(file) for file in files]
        self.rows.append([str(answer.wanted.path), *names, *run.answers.row(output, top)])
        self.counts[run.answers.answer(output)] += 1
        certainty = run.answers.certainty(output)
        if certainty is not None:
            push = heapq.heappush if len(self.least) < MOST_UNCERTAIN else heapq.heappushpop
            push(self.least, (-certainty, -len(self.rows), answer))

    def tell_unread(self) -> str:
        """The files that could not be read, in words."""
        count = len(self.rows) + len(self.unread)
        lines = [f"{len(self.unread)} of {count} images could not be read:"]
        return "\n".join([*lines, *(f"  {reason}" for reason in self.unread.values())])


def answer_all(
    run: LoadedRun,
    network: Answering,
    batches: Iterable[Sequence[Wanted]],
    unread: dict[str, str],
) -> Iterator[Answer]:
    """Yield the answer of every image that can be read; `unread` takes the reasons of the others.

    Of one batch those that can be read go through the network together.
    """
    device = next(iter(network.parameters())).device
    with ThreadPoolExecutor(usable_cores()) as pool:
        for batch in batches:
            read = _read_all(run, batch, pool, unread)
            if not read:
                continue
            inputs = torch.stack([tensor for *_, tensor in read])
            with torch.inference_mode():
                outputs = network(inputs.to(device)).float().cpu()
            for (wanted, image, _), output in zip(read, outputs, strict=True):
                yield Answer(wanted, image, run.answers.inside(output, sides_of(image)))


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
    """Write the pictures of an answer as place_WORD.png; return their paths. Raises: OSError."""
    if not run.answers.written:
        return []
    written = []
    for word, picture in run.answers.files(picture_of(answer.image), answer.output).items():
        path = place.with_name(f"{place.name}_{word}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            picture.save(temporary)
        written.append(path)
    return written
