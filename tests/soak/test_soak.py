"""The soak sees what is wrong: other bits, tracebacks, other exit codes, refusals of nothing."""

from __future__ import annotations

import errno
import random
import signal
from pathlib import Path

import pytest

from tests import forks
from tests.forks import Ended
from tests.soak import story as story_module
from tests.soak.damage import Damage, cut, flip
from tests.soak.judge import WrongError, judge
from tests.soak.scenes import SCENES, Reference
from tests.soak.story import Story

KILL, STOP = {"signal": int(signal.SIGKILL)}, {"signal": int(signal.SIGTERM)}
SPACE = {"space": 1}
TRACE = "Traceback (most recent call last):\n"
FULL = "error: cannot write: [Errno 28] No space left on device"
TOLD = "data.contents: 'a' -> 'b', as the manifest tells\n"
STATE = Damage(Path("/r/step-2/state.pt"), b"", "")


def launch(*codes: int, out: str = "", err: str = "") -> list[Ended]:
    return [Ended(code, out, err) for code in codes]


@pytest.mark.parametrize(
    ("ended", "plan", "damages", "outcome"),
    [
        (launch(0, 0), None, [], "finished"),
        (launch(0), KILL, [], "finished"),
        (launch(0, out=TOLD), None, [], "told"),
        (launch(-9, 1, err=TRACE), KILL, [], "killed"),
        (launch(143, 143), STOP, [], "stopped"),
        (launch(-9, -15), STOP, [], "stopped"),
        (launch(2, err="error: state.pt is damaged"), None, [STATE], "refused"),
        (launch(2, err=FULL), SPACE, [], "refused"),
        (launch(-9, -9), None, [], "exit codes"),
        (launch(-9, -9), STOP, [], "exit codes"),
        (launch(143), None, [], "exit codes"),
        (launch(0, 2), None, [STATE], "exit codes"),
        (launch(1, err=TRACE), None, [], "a traceback"),
        (launch(2, 2, err=FULL + TRACE), SPACE, [], "a traceback"),
        (launch(2, err=FULL), None, [], "does not name its reason"),
        (launch(2, err="error: something is damaged"), None, [STATE], "does not name its reason"),
    ],
)
def test_what_a_launch_came_to(
    ended: list[Ended], plan: dict | None, damages: list[Damage], outcome: str
) -> None:
    if " " not in outcome:
        assert judge(ended, plan, damages) == outcome
        return
    with pytest.raises(WrongError, match=outcome):
        judge(ended, plan, damages)


def test_other_bits_are_wrong_unless_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story_module, "fingerprint", lambda run: {"weights": run.name})
    for bits, outcome, right in (
        ("run", "finished", True), ("other", "finished", False), ("other", "told", True),
    ):  # fmt: skip
        story = Story(SCENES[0], Reference({"weights": bits}), tmp_path, tmp_path, "seed")
        story.events, story.finished = [("resumed", outcome)], launch(0, out="run directory: /run")
        if right:
            story.compare()
        else:
            with pytest.raises(WrongError, match="other bits in weights"):
                story.compare()
            assert story.events == [("resumed", "wrong")]


def test_a_damaged_file_is_another_and_can_be_mended(tmp_path: Path) -> None:
    path, rng = tmp_path / "file", random.Random(0)
    for damage in (flip, cut):
        for _ in range(20):
            path.write_bytes(b"some content")
            done = damage(path, rng)
            assert path.read_bytes() != b"some content"
            assert len(path.read_bytes()) == 12 or damage is cut
            done.mend()
            assert path.read_bytes() == b"some content"


def test_a_child_meets_its_plan_at_the_write_that_it_names(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from tests.soak.child import disturb\n"
        f"disturb({{'rank': 0, 'writes': 3, 'folder': {str(tmp_path)!r}, **{{}}}})\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "for number in range(5):\n"
        "    open('/dev/null', 'w').close()\n"
        "    try:\n"
        f"        open(f'{tmp_path}/file-{{number}}', 'w').close()\n"
        "    except OSError as error:\n"
        "        print(number, error.errno)\n"
    )
    plans = [code, code.replace("**{}", "'signal': 9")]
    full, killed = (ranks[0] for ranks in forks.run_together(
        *(forks.Command(["-c", plan]) for plan in plans)
    ))  # fmt: skip
    assert full.stdout == "".join(f"{n} {errno.ENOSPC}\n" for n in (2, 3, 4)), full
    assert killed.returncode == -signal.SIGKILL and killed.stdout == ""
