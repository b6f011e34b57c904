"""What a launch came to, and whether that is right."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from tests.forks import Ended
from tests.soak.damage import Damage

TRACEBACK = "Traceback (most recent call last)"
# What a launch says when it goes on to a result that is not that of an undisturbed run.
_TOLD = re.compile(
    r"^data\.contents: .* as the manifest tells$|the best of the epochs from here on counts$",
    re.MULTILINE,
)


class WrongError(Exception):
    """What must not happen: a wrong result, a traceback, another exit code, a launch that hangs."""


def text_of(ended: Sequence[Ended]) -> str:
    return "\n".join(e.stdout + e.stderr for e in ended)


def end_of(ended: Sequence[Ended]) -> str:
    """The last lines of each process."""
    ends = ("\n".join((e.stdout + e.stderr).strip().splitlines()[-12:]) for e in ended)
    return "".join(f"\n--- process {rank}\n{text}" for rank, text in enumerate(ends))


def judge(ended: Sequence[Ended], plan: Mapping[str, Any] | None, damages: Sequence[Damage]) -> str:
    """killed, stopped, refused, finished, or told: finished with another result, as it says.

    plan: what the launch met, see child.py; "space" marks a full disk. damages: that it could meet.
    Raises: WrongError.
    """
    plan = plan or {}
    codes, text, number = {e.returncode for e in ended}, text_of(ended), plan.get("signal")
    if number == signal.SIGKILL and -number in codes:
        return "killed"
    if TRACEBACK in text:
        raise WrongError(f"a traceback{end_of(ended)}")
    if number and codes <= {128 + number, -number, -signal.SIGKILL} and codes != {-signal.SIGKILL}:
        return "stopped"
    if codes == {0}:
        return "told" if _TOLD.search(text) else "finished"
    if codes != {2} or "error: " not in ended[0].stderr:
        raise WrongError(f"exit codes {[e.returncode for e in ended]}{end_of(ended)}")
    named = any(damage.is_named_in(text) for damage in damages)
    if not named and not ("space" in plan and "No space left on device" in text):
        raise WrongError(f"a refusal that does not name its reason{end_of(ended)}")
    return "refused"


def run_directory(ended: Sequence[Ended]) -> str:
    """The path that a finished launch has printed."""
    pattern = r"^run directory: (.+)$|^(.+) is finished; nothing is left to do\.$"
    found = re.search(pattern, ended[0].stdout, re.MULTILINE)
    if found is None:
        raise WrongError(f"no run directory is named{end_of(ended)}")
    return found[1] or found[2]
