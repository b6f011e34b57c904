"""Writes the tables of the kernels: python -m tests.cuda_on_cpu.tables (make kernels).

resources: every instance on every architecture, registers, spills and shared memory from NVRTC;
errors: every kernel executed on the CPU, against float64, beside eager torch in the same dtype;
traffic: global bytes per element of x and atomic additions, counted, beside the minimum.
Exits with 1 if a kernel spills, an error is more than twice eager torch's, or traffic is above the
minimum.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conv_kan.bases import BASES
from conv_kan.ops.cupy.sources import TYPES
from conv_kan.ops.maths.wavelets import WAVELETS
from tests.cuda_on_cpu import cases
from tests.cuda_on_cpu.executor import Executor, Launch
from tests.cuda_on_cpu.instances import describe, instances
from tests.cuda_on_cpu.nvrtc import ARCHITECTURES, compile_kernels

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"
Row = dict[str, Any]
DRAWS = 32  # of the inputs and shapes of a row of errors


def resources() -> Iterator[Row]:
    """One row per instance and architecture."""
    modules = instances()
    for architecture in ARCHITECTURES:
        for kernels in modules:
            _, found, _ = compile_kernels(kernels, architecture)
            for kernel in kernels:
                used = found[kernel.expression]
                name, functions, taps = describe(kernel)
                yield {
                    "kernel": name,
                    "functions": functions,
                    "taps": taps,
                    "architecture": f"sm_{architecture}",
                    "registers": used.registers,
                    "spilled_bytes": used.spilled,
                    "stack_bytes": used.stack,
                    "shared_bytes": used.shared,
                    "ok": used.spilled == 0,
                }


def _error_cases(dtype: torch.dtype) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """Names, and functions of a seed that run a kernel."""
    for name in BASES:
        yield (
            f"expand {name}",
            lambda seed, name=name: cases.run_expansion(
                cases.make_case(name, channels=6, size=(3, 7, 4), dtype=dtype, seed=seed)
            ),
        )
    yield "expand knots", lambda seed: cases.run_expansion(cases.knots_case(dtype=dtype, seed=seed))
    yield "rational 1D", lambda seed: cases.run_rational((4, 25, 16), dtype, seed=seed)
    yield (
        "rational 2D",
        lambda seed: cases.run_rational((2, 8, 7, 5), dtype, channels_last=False, seed=seed),
    )
    for wavelet in WAVELETS:
        yield (
            f"wavelet {wavelet}",
            lambda seed, w=wavelet: cases.run_wavelet(w, 5, 4, (3, 6, 5), dtype, seed=seed),
        )


def errors() -> Iterator[Row]:
    """One row per kernel, dtype and tensor: the largest error, as `cases.worst` says, of DRAWS.

    In one draw, either error may be 0 by chance. In float64 eager torch is itself the measure, so
    that kernels are held to a few roundings.
    """
    for dtype in TYPES:
        for case, run in _error_cases(dtype):
            largest: dict[str, tuple[float, float]] = {}
            for seed in range(1, DRAWS + 1):
                for outcome in run(seed):
                    before = largest.get(outcome.name, (0.0, 0.0))
                    now = outcome.error, outcome.eager_error
                    largest[outcome.name] = max(before[0], now[0]), max(before[1], now[1])
            floor = cases.EPSILON[dtype] if dtype == torch.float64 else 0.0
            for tensor, (error, eager_error) in largest.items():
                yield {
                    "case": case,
                    "dtype": str(dtype).removeprefix("torch."),
                    "tensor": tensor,
                    "kernel_error": f"{error:.2e}",
                    "eager_error": f"{eager_error:.2e}",
                    "ok": error <= 2 * eager_error + floor,
                }


# ------------------------------------------------------------------------------------------ traffic
def _expansion_rows(executor: Executor, name: str, dtype: torch.dtype, last: bool) -> Iterator[Row]:
    case = cases.make_case(name, channels=8, size=(4, 16, 16), dtype=dtype, last=last)
    list(cases.run_expansion(case))
    maps, size = case.expansion.num_maps, case.x.element_size()
    with_shape = bool(case.shape)
    forward, backward = executor.launches
    layout = "channels last" if last else "contiguous"
    label = f"{name}, {layout}"
    elements, reads = case.x.numel(), ["x", "e"]
    tensors = dict(
        zip(["x", *(["shape"] if with_shape else []), "e"], forward.traffic, strict=True)
    )
    yield _traffic(forward, label, dtype, elements, [tensors[t] for t in reads], (1 + maps) * size)
    names = ["x", *(["shape"] if with_shape else []), "e", "dx", *(["sums"] if with_shape else [])]
    tensors = dict(zip(names, backward.traffic, strict=True))
    row = [tensors[t] for t in ("x", "e", "dx")]
    coefficients = sum(s.shape[-1] for s in case.shape)
    sums = tensors.get("sums")
    yield _traffic(
        backward, label, dtype, elements, row, (2 + 2 * maps) * size, sums, coefficients, last
    )


def _rational_rows(executor: Executor, dtype: torch.dtype) -> Iterator[Row]:
    list(cases.run_rational((400, 16), dtype))
    forward, backward = executor.launches
    size = torch.empty(0, dtype=dtype).element_size()
    x, _, _, y = forward.traffic
    yield _traffic(forward, "5/4", dtype, 6400, [x, y], 2 * size)
    x, dy, _, _, dx, sums = backward.traffic
    yield _traffic(backward, "5/4", dtype, 6400, [x, dy, dx], 3 * size, sums, 10)


def _traffic(
    launch: Launch,
    case: str,
    dtype: torch.dtype,
    elements: int,
    tensors: list[Any],
    minimum: int,
    sums: Any = None,
    coefficients: int = 0,
    rows_per_block: bool = False,
) -> Row:
    """A row; with a row of the shape per channel a block of 32 channels has 32 sets of sums."""
    total = sum(t.bytes_read + t.bytes_written for t in tensors)
    many = rows_per_block and "2, false" in launch.kernel.expression
    limit = launch.blocks * coefficients * (32 if many else 1)
    atomics = sums.atomics if sums else 0
    return {
        "kernel": launch.name,
        "case": case,
        "dtype": str(dtype).removeprefix("torch."),
        "elements": elements,
        "bytes_per_element": total / elements,
        "minimum": minimum,
        "blocks": launch.blocks,
        "coefficients": coefficients,
        "atomics": atomics,
        "atomics_limit": limit,
        "ok": total == minimum * elements and atomics <= limit,
    }


def traffic() -> Iterator[Row]:
    """Counted accesses of global memory; coefficients, which caches hold, are left out."""
    for dtype in TYPES:
        for name in BASES:
            for last in (False, True):
                with pytest.MonkeyPatch.context() as patch:
                    executor = Executor(processors=4).install(patch)
                    yield from _expansion_rows(executor, name, dtype, last)
        with pytest.MonkeyPatch.context() as patch:
            yield from _rational_rows(Executor(processors=1).install(patch), dtype)


def write(name: str, rows: Iterator[Row]) -> bool:
    """Write a table; whether every row is as it should be."""
    start, found = time.monotonic(), list(rows)
    path = RESULTS / f"kernels_{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    bad = [row for row in found if not row["ok"]]
    seconds = time.monotonic() - start
    print(
        f"{path.name}: {len(found)} rows, {len(bad)} not as they should be, {seconds:.0f} s",
        flush=True,
    )
    for row in bad:
        print("   ", row)
    return not bad


def main() -> int:
    with pytest.MonkeyPatch.context() as patch:
        Executor().install(patch)
        good = [write("errors", errors())]
    good += [write("traffic", traffic()), write("resources", resources())]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
