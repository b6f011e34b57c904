"""The rows of a benchmark: one figure each, with all that is needed to judge it."""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.harness import Spread
from experiments.errors import DataError
from experiments.runs.manifest import git_state, hardware, now

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results"
PICTURES = ROOT / "docs"

# Instructions that multiply bfloat16 matrices or dot products, as Linux names them.
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")  # the last is Arm's
# Those that multiply matrices; AVX-512's multiplies pairs, twice as many as float32 at best.
BF16_MATRIX_FLAGS = ("amx_bf16", "bf16")


@dataclass(frozen=True)
class Row:
    """A figure (median and quartiles over `rounds`) of one provider.

    `ratio` compares it with the provider `baseline` in the same rounds; `target` is what the ratio
    may be at most, or the figure itself where there is no baseline. `axis`, `value`: what a scaling
    benchmark varies. Time is in seconds, memory in bytes.
    """

    bench: str
    case: str
    provider: str
    metric: str
    median: float
    q1: float | None = None
    q3: float | None = None
    rounds: int = 1
    baseline: str = ""
    ratio: float | None = None
    ratio_q1: float | None = None
    ratio_q3: float | None = None
    target: float | None = None
    images_per_second: float | None = None
    axis: str = ""
    value: float | None = None
    dtype: str = "float32"
    layout: str = "contiguous"
    allocator: str = "default"
    threads: int = 0
    cpu: str = ""
    bf16: str = ""
    torch: str = ""
    python: str = ""
    commit: str = ""
    time: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What a later row must share to replace this one."""
        what = (self.bench, self.case, self.provider, self.metric, self.axis, self.value)
        return (*what, self.dtype, self.layout, self.allocator, self.threads, self.cpu)

    @property
    def holds(self) -> bool | None:
        """Whether the target is met, to its two decimals; None if there is none."""
        if self.target is None:
            return None
        return round(self.median if self.ratio is None else self.ratio, 2) <= round(self.target, 2)


COLUMNS = [field.name for field in fields(Row)]
_TEXT = {field.name for field in fields(Row) if field.type == "str"}
_WHOLE = {field.name for field in fields(Row) if field.type == "int"}


def timed_rows(
    samples: dict[str, list[float]],
    *,
    baseline: str,
    images: int | None = None,
    targets: dict[str, float] | None = None,
    **common: Any,
) -> list[Row]:
    """One row for every provider of `interleave`'s samples, all compared with `baseline`."""
    rows = []
    for name, seconds in samples.items():
        spread = Spread.of(seconds)
        ratio = Spread.of([a / b for a, b in zip(seconds, samples[baseline], strict=True)])
        rows.append(
            Row(
                provider=name,
                median=spread.median,
                q1=spread.q1,
                q3=spread.q3,
                rounds=len(seconds),
                baseline=baseline,
                ratio=ratio.median,
                ratio_q1=ratio.q1,
                ratio_q3=ratio.q3,
                target=(targets or {}).get(name),
                images_per_second=None if images is None else images / spread.median,
                **common,
            )
        )
    return rows


# -------------------------------------------------------------------------------- where it was made
def with_surroundings(row: Row, allocator: str) -> Row:
    """The row with the machine, the versions and the commit of this process."""
    threads = torch.get_num_threads()
    return Row(**{**asdict(row), "allocator": allocator, "threads": threads, **_surroundings()})


@cache
def _surroundings() -> dict[str, str]:
    state = git_state(ROOT)
    commit = "" if state is None else state["sha"][:12] + ("+" if state["dirty"] else "")
    return {
        "cpu": str(hardware()["cpu"]),
        "bf16": bf16_instructions(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "time": now(),
    }


def bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's instructions for bfloat16 products, "none", or "unknown" off Linux."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    flags = next((x.partition(":")[2] for x in lines if x.startswith(("flags", "Features"))), "")
    return " ".join(sorted(set(flags.split()) & set(BF16_FLAGS))) or "none"


# ------------------------------------------------------------------------------------------- files
def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows to a CSV file, which gets its header first.

    Raises: DataError if the file has other columns -> move it away.
    """
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        _check_header(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        for row in rows:
            writer.writerow({name: _text(value) for name, value in asdict(row).items()})


def read_rows(path: Path) -> list[Row]:
    """All rows of a CSV file, oldest first; none if the file does not exist."""
    if not path.exists():
        return []
    _check_header(path)
    with open(path, newline="", encoding="utf-8") as file:
        return [
            Row(**{name: _value(name, text) for name, text in line.items()})
            for line in csv.DictReader(file)
        ]


def newest(rows: Sequence[Row]) -> list[Row]:
    """The last row of every key, in the order in which the keys first came."""
    return list({row.key: row for row in rows}.values())


def _check_header(path: Path) -> None:
    with open(path, newline="", encoding="utf-8") as file:
        header = next(csv.reader(file), [])
    if header != COLUMNS:
        raise DataError(
            f"{path} has the columns {', '.join(header)}, but rows are made of "
            f"{', '.join(COLUMNS)}; add --fresh to begin it anew, or move it away"
        )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if name in _WHOLE:
        return int(text)
    return float(text) if text else None
