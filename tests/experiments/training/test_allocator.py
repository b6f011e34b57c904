"""The allocator keeps what it has: later steps fault in few new pages."""

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from experiments.training import allocator

ROOT = Path(__file__).resolve().parents[3]
GLIBC = platform.libc_ver()[0] == "glibc"

# Page faults of ten rounds that allocate, touch and free 64 MB in blocks of a few MB.
SCRIPT = """
    import resource, sys
    from experiments.training.allocator import keep_large_allocations

    if sys.argv[1] == "keep":
        assert keep_large_allocations()

    def work():
        blocks = [b"x" * (8_000_000 + 40_000 * i) for i in range(8)]
        return sum(block[0] for block in blocks)

    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        work()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), mode]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(not GLIBC, reason="only glibc's allocator takes the setting")
def test_later_rounds_fault_in_few_pages():
    """The heap may still grow by a block or two; without the setting every round starts anew."""
    assert 10 * page_faults("keep") < page_faults("leave")


@pytest.mark.parametrize("reason", ["macos", "musl", "other malloc"])
def test_elsewhere_nothing_is_changed(monkeypatch, reason):
    if reason == "macos":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif reason == "musl":
        monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    else:
        addresses = iter([1, 2])
        monkeypatch.setattr(allocator, "_address", lambda function: next(addresses))
    assert allocator.keep_large_allocations() is False
