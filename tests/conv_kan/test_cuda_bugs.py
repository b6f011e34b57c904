"""A copy of a CUDA kernel without one of its barriers, bound checks or atomics fails its test."""

import pytest

from conv_kan.bases import create_basis
from tests.cuda_on_cpu.cases import compare, compare_rational, compare_wavelet, make_case
from tests.cuda_on_cpu.executor import Executor
from tests.cuda_on_cpu.module import KernelError

BARRIER = "    }\n    __syncthreads();\n    A total"
SUM_BUGS = [  # of reduce.cuh
    ("reduce.cuh", "    __syncthreads();\n", ""),
    ("reduce.cuh", "if (threadIdx.x < COUNT)\n", ""),
]
EXPAND_BUGS = [
    ("expand.cu", "packs; \n", ""),
]
BUGS = {
    "expand": [
        *SUM_BUGS,
        (
            "expand.cu",
            "atomicAdd(sums + owner * S + s, total);",
            "sums[owner * S + s] += total;",
        ),
        ("expand.cu", "threadIdx.x; p < packs;", "threadIdx.x; p < packs + 1;"),
        ("expand.cu", "count = packs / sizes.rows;", "count = packs / sizes.rows + 1;"),
        ("expand.cu", "if (threadIdx.x >= CHUNK || s >= S) continue;", ""),
    ],
    "many sums": [
        ("expand.cu", "if (S > CHUNK) __syncthreads();  // these sums are read", ""),
    ],
    "columns": [
        (
            "expand.cu",
            "column[threadIdx.x] = grad[s];\n            __syncthreads();",
            "column[threadIdx.x] = grad[s];",
        ),
        (
            "expand.cu",
            "            __syncthreads();\n            if (threadIdx.x >= 32",
            "            if (threadIdx.x >= 32",
        ),
        ("expand.cu", "atomicAdd(target, total);", "*target += total;"),
        (
            "expand.cu",
            "if (threadIdx.x >= 32 || row >= channels) continue;",
            "if (threadIdx.x >= 32) continue;",
        ),
        (
            "expand.cu",
            "row < sizes.channels ? packs / sizes.channels : 0",
            "packs / sizes.channels",
        ),
    ],
    "rational": [
        *SUM_BUGS,
        ("rational.cu", "packs = outer * inner_packs;", "packs = outer * inner_packs + 1;"),
        ("rational.cu", "if (threadIdx.x < N + D) sums[", "sums["),
        ("rational.cu", "(blockIdx.x) * (N + D)", "(loop.group) * (N + D)"),
    ],
    "wavelet": [
        *SUM_BUGS,
        ("wavelet.cu", "__syncthreads();  // the edges before are used up", ""),
        ("wavelet.cu", "__syncthreads();  // the edges are there", ""),
        ("wavelet.cu", "        if (n < columns)\n", ""),
        ("wavelet.cu", "    if (n >= columns) return;\n#pragma", "#pragma"),
        ("wavelet.cu", "if (n >= columns) return;\n    A values", "A values"),
        (
            "wavelet.cu",
            "first + j < channels ? x[(first + j) * columns + n] : A(0)",
            "x[(first + j) * columns + n]",
        ),
        ("wavelet.cu", "if (first + j < channels) grad_x", "grad_x"),
        ("wavelet.cu", " || c >= channels) return;", ") return;"),
        ("wavelet.cu", "if (c >= channels) continue;\n            const", "const"),
    ],
}


def run_for_bugs(kernel):
    if kernel == "expand":
        compare(*make_case("gram", channels=5, size=(3, 16, 16)))
    elif kernel == "many sums":
        compare(*make_case(create_basis("shared_spline", grid_size=300)))
    elif kernel == "columns":
        compare(*make_case("relu", channels=37, size=(3, 8, 8), last=True))
    elif kernel == "rational":
        compare_rational((500, 8))
    else:
        compare_wavelet("dog", channels=37, c_out=2, size=(3, 7), mix=False)


@pytest.mark.parametrize("kernel", BUGS)
def test_kernels_without_bugs_pass_what_catches_them(monkeypatch, kernel):
    Executor(processors=2).install(monkeypatch)
    run_for_bugs(kernel)


@pytest.mark.parametrize(
    ("kernel", "bug"), [(kernel, bug) for kernel, bugs in BUGS.items() for bug in bugs]
)
def test_a_planted_bug_is_caught(monkeypatch, kernel, bug):
    Executor(processors=2, edits=(bug,)).install(monkeypatch)
    with pytest.raises((KernelError, AssertionError)):
        run_for_bugs(kernel)
