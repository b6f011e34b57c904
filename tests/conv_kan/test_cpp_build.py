"""Compiling at first use: the cache, several processes, and machines that cannot compile."""

import logging
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conv_kan import KANConv
from conv_kan.bases import BSpline, Fourier, Gram
from conv_kan.ops import backend as backend_module
from conv_kan.ops.cpp import build
from conv_kan.ops.cpp import expand as cpp_expand
from conv_kan.ops.cpp import layout as cpp_layout
from conv_kan.ops.cpp import weights as cpp_weights
from conv_kan.ops.maths.expansion import Expansion
from conv_kan.ops.maths.formula import Formula
from conv_kan.ops.maths.notices import say_once
from tests import forks

F32 = torch.float32
ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import re, sys, torch
from conv_kan import KANConv
from conv_kan.bases import BSpline, Fourier, Gram
torch.set_num_threads(2)

def train(backend):
    torch.manual_seed(0)
    layer = KANConv(16, 8, 3, backend=backend)
    y = layer(torch.randn(4, 16, 20, 20, requires_grad=True))
    y.square().sum().backward()
    return y.sum().item(), layer.basis_weight.grad.square().sum().item()
"""
COMPILE = """
def openmp():
    maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
    return set(re.findall(r"/\\S*/lib[gi]?omp\\S*", maps))

before = openmp()
print(*train("cpp"))
print(sorted(openmp() - before))
"""
FALL_BACK = """
assert train("auto") == train("auto") == train("torch")
train("cpp")
"""


@pytest.mark.slow
def test_processes_that_compile_at_once(tmp_path):
    one, other = forks.run("-c", TRAIN + COMPILE, processes=2, XDG_CACHE_HOME=str(tmp_path))
    assert (one.returncode, other.returncode) == (0, 0), one.stderr + other.stderr
    assert one.stdout == other.stdout
    # The expansion, the norm, the weights, and the way between memory formats.
    kept = list((tmp_path / "conv_kan").iterdir())
    assert sorted(path.suffix for path in kept) == [".json"] * 4 + [".so"] * 4
    where = kept[0].parent
    said = f"compiling kernels for this processor, some seconds each (once, kept in {where})\n"
    assert (one.stderr, other.stderr) == (said, "")  # the first process speaks for both
    # Kernels run on the threads of torch and bring no OpenMP of their own.
    assert not any(re.search(rb"lib[gi]?omp", path.read_bytes()) for path in kept)
    assert one.stdout.splitlines()[1] == "[]"


def test_without_a_compiler():
    (done,) = forks.run("-c", TRAIN + FALL_BACK, CXX="no-such-compiler")
    why = "backend 'torch' in place of 'cpp': there is no C++ compiler"
    assert done.stderr.count(why) == 1
    assert done.returncode == 1 and "AssertionError" not in done.stderr
    assert (
        "BackendError: backend='cpp' cannot run: there is no C++ compiler 'no-such-compiler' on the"
        " PATH; install g++. Or pass backend='auto'." in done.stderr
    )


def test_a_library_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    macros = (("KAN_ACTIVATION", "Relu"), ("KAN_VALUE", "float"))
    build.load_library("norm.cpp", macros)
    build._library.cache_clear()
    monkeypatch.setattr(build, "_compile", None)
    assert build.load_library("norm.cpp", macros).kan_moments


def test_what_a_compiler_says_reaches_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        build.CannotCompileError, match=r"(?s)failed .*NoSuchFunctor.*another g\+\+"
    ):
        build.load_library("expand.cpp", (("KAN_FUNCTOR", "NoSuchFunctor"),))
    assert list((tmp_path / "conv_kan").iterdir()) == []


def test_a_library_depends_on_macros_and_flags(monkeypatch):
    before = build._digest("expand.cpp", (("KAN_DEGREE", "3"),))
    assert before == build._digest("expand.cpp", (("KAN_DEGREE", "3"),))
    assert before != build._digest("expand.cpp", (("KAN_DEGREE", "4"),))
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    assert before != build._digest("expand.cpp", (("KAN_DEGREE", "3"),))


def test_reasons_not_to_run():
    x = torch.randn(2, 4, 5, 5)

    def functions(u, *shape):
        return [u]

    own = Expansion(functions, 1, (), 1.0, None, backend="cpp")
    assert "no compiled formula" in cpp_expand.why_not(F32, F32, own)
    unnamed = Expansion(functions, 1, (), 1.0, torch.sin, None, Formula("Monomial"), "cpp")
    assert "has no name" in cpp_expand.why_not(F32, F32, unnamed)
    integers = Expansion(functions, 1, (), 1.0, None, None, Formula("Monomial"), "cpp")
    assert "torch.int64" in cpp_expand.why_not(torch.int64, F32, integers)
    with pytest.raises(RuntimeError, match=r"backend='cpp' cannot run.*no compiled formula"):
        backend_module.choose_backend(x, None, own, F32)


def test_backend_is_an_argument_that_is_checked_and_shown():
    assert "backend='auto'" in repr(KANConv(2, 2, 3))
    layer = KANConv(2, 2, 3, backend="torch")
    assert "backend='torch'" in repr(layer)
    assert layer.expansion.backend == "torch"
    assert not any("backend" in key for key in layer.state_dict())
    with pytest.raises(ValueError, match="did you mean 'cpp'"):
        KANConv(2, 2, 3, backend="cppp")
    with pytest.raises(RuntimeError, match="backend='cupy' cannot run"):
        KANConv(2, 2, 3, backend="cupy")(torch.randn(1, 2, 5, 5))


def test_auto_leaves_small_inputs_and_legacy_squashes_to_torch(caplog):
    def chosen(x, expansion):
        return backend_module.choose_backend(x, None, expansion, F32).__name__.split(".")[-1]

    layer = KANConv(4, 4, 3)
    small, large = torch.randn(2, 4, 5, 5), torch.randn(4, 4, 64, 64)
    assert chosen(small, layer.expansion) == "plain"
    assert chosen(large, layer.expansion) == "cpp"
    own = Expansion(lambda u: [u + 1], 1, (), 1.0, None, backend="auto")
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="conv_kan"):
        for _ in range(2):
            assert chosen(large, own) == "plain"
    assert [record.getMessage() for record in caplog.records] == [
        "backend 'torch' in place of 'cpp': this basis has no compiled formula (a legacy squash, "
        "or a basis of your own)."
    ]


def test_a_kernel_that_would_compile_for_minutes_is_not_made(monkeypatch, caplog):
    monkeypatch.setattr(cpp_expand, "_compiler_problem", lambda *a: None)
    why = cpp_expand.why_not
    for basis in (Gram(47), BSpline(45, 3), Fourier(23)):
        assert why(F32, F32, KANConv(2, 2, 3, basis=basis).expansion) is None
    for basis in (Gram(48), BSpline(46, 3), Fourier(24)):
        assert "a kernel for 49 functions" in why(F32, F32, KANConv(2, 2, 3, basis=basis).expansion)
    say_once.cache_clear()
    x = torch.randn(2, 2, 64, 64)
    with caplog.at_level(logging.WARNING, logger="conv_kan"):
        for _ in range(2):
            assert KANConv(2, 2, 3, basis=Gram(100))(x).isfinite().all()
    assert [record.getMessage() for record in caplog.records] == [
        "backend 'torch' in place of 'cpp': a kernel for 101 functions of a channel would take "
        "minutes to compile; it has at most 48. Take a smaller degree or grid."
    ]
    with pytest.raises(
        backend_module.BackendError, match=r"backend='cpp' cannot run: a kernel for 101"
    ):
        KANConv(2, 2, 3, basis=Gram(100), backend="cpp")(x)


def test_auto_takes_torch_where_one_kernel_does_not_compile(monkeypatch, caplog):
    def refuse(formula, *arguments):
        if formula.name == "Gram":
            raise build.CannotCompileError("g++ failed: out of memory.")
        return compile_(formula, *arguments)

    compile_ = cpp_expand.kernels
    monkeypatch.setattr(cpp_expand, "kernels", refuse)
    cpp_expand._compiler_problem.cache_clear()
    say_once.cache_clear()
    x = torch.randn(4, 4, 64, 64)
    with caplog.at_level(logging.WARNING, logger="conv_kan"):
        y = KANConv(4, 4, 3, norm=None)(x)
        KANConv(4, 4, 3, basis="legendre", norm=None)(x)
    cpp_expand._compiler_problem.cache_clear()
    assert y.isfinite().all()
    assert [record.getMessage() for record in caplog.records] == [
        "backend 'torch' in place of 'cpp': g++ failed: out of memory."
    ]


@pytest.mark.parametrize("part", [cpp_layout, cpp_weights])
def test_every_kernel_of_a_layer_is_there_before_it_is_chosen(monkeypatch, part):
    """One that is missing is a reason, and is not replaced by torch without a word."""

    def refuse(*arguments):
        raise build.CannotCompileError("g++ failed: the disk is full.")

    part.kernels.cache_clear()
    monkeypatch.setattr(part, "load_library", refuse)
    cpp_expand._compiler_problem.cache_clear()
    with pytest.raises(backend_module.BackendError, match="the disk is full"):
        KANConv(4, 4, 3, backend="cpp")(torch.randn(2, 4, 8, 8))
    cpp_expand._compiler_problem.cache_clear()
    part.kernels.cache_clear()


x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not an x86")


@x86
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_packs_are_registers_whatever_their_width(level):
    """GCC takes a pack wider than a register apart, number by number: ten times slower."""
    macros = ["KAN_FUNCTOR=Chebyshev", "KAN_DEGREE=3", "KAN_SQUASH=Tanh", "KAN_BASE=Silu"]
    macros += ["KAN_VALUE=float", "KAN_STORED=float"]
    folder = Path(build.__file__).parent
    command = [build.compiler()[0], *build.FLAGS, f"-march={level}", "-S", "-o", "-"]
    command += [f"-I{build.formulas()}", f"-I{folder}", *(f"-D{macro}" for macro in macros)]
    command.append(str(folder / "expand.cpp"))
    assembly = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # A comparison is what all of them show: one for a pack, or one for every number.
    assert len(re.findall(r"\sv?cmp\w*ps\s", assembly)) > 20
    assert not re.findall(r"\sv?u?comiss\s", assembly)


@x86
@pytest.mark.slow
@pytest.mark.parametrize("flag", ["-mno-avx512f", "-mno-avx"])
def test_kernels_for_other_processors(tmp_path, flag):
    """The tests of the C++ kernels again, compiled without the widest instructions."""
    compiler = tmp_path / "g++"
    compiler.write_text(f'#!/bin/sh\nexec {build.compiler()[0]} "$@" {flag}\n')
    compiler.chmod(0o755)
    files = sorted(map(str, Path(__file__).parent.glob("test_cpp_[elrw]*.py")))
    assert len(files) == 5
    environment = {**os.environ, "CXX": str(compiler), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_library_that_cannot_be_loaded_is_a_reason(tmp_path, monkeypatch):
    """For example from a disk that is mounted noexec."""

    def refuse(path):
        raise OSError("failed to map segment from shared object")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build.ctypes, "CDLL", refuse)
    with pytest.raises(build.CannotCompileError, match=r"failed to map.*set XDG_CACHE_HOME"):
        build.load_library("layout.cpp", (("KAN_STORED", "int"), ("KAN_NEW", "1")))
