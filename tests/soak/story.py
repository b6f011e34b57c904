"""One run, disturbed a few times and resumed until it has finished."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import forks
from tests.experiments.training.fingerprint import fingerprint
from tests.forks import Ended
from tests.soak import disk
from tests.soak.damage import DAMAGES, Damage, files_of_cache, files_of_data, files_of_run
from tests.soak.judge import WrongError, end_of, judge, run_directory
from tests.soak.scenes import LIMIT, Reference, Scene, write_data

Plan = dict[str, Any]
WRITES = 120  # about as many as a whole run makes
MOST_LAUNCHES = 4  # after the last disturbance: each may be refused once, and is mended


class Story:
    """events: (what happened, what the launch came to), as they are told."""

    def __init__(self, scene: Scene, reference: Reference, box: Path, cache: Path, seed: str):
        self.scene, self.reference, self.box, self.cache = scene, reference, box, cache
        self.rng = random.Random(seed)
        self.runs, self.data = box / "runs", box / "data"
        self.pending: list[Damage] = []
        self.events: list[tuple[str, str]] = []
        self.finished: list[Ended] | None = None

    def tell(self) -> None:
        """Live through the story. Raises: WrongError."""
        self.runs.mkdir(parents=True)
        write_data(self.scene, self.data)
        for _ in range(self.rng.randint(1, 4)):
            if self.finished is None:
                self.choose()()
        for _ in range(MOST_LAUNCHES):
            if self.finished is None:
                self.launch("resumed", None)
        self.compare()

    def choose(self) -> Callable[[], None]:
        """Something that can happen now."""
        events = [self.killed_or_stopped, self.killed_or_stopped, self.at_a_write, self.no_space]
        if disk.can_mount() and not list(self.runs.iterdir()):
            events.append(self.full_disk)
        if self.newest() is not None:
            events += [self.damaged_run] * 4
            if self.scene.reads and list(self.runs.glob("*/*/checkpoints/step-*")):
                events += [self.damaged_data] * 2
        if self.scene.compiles:
            events.append(self.damaged_kernel)
            if disk.can_mount():
                events.append(self.full_disk_of_kernels)
        return self.rng.choice(events)

    # -------------------------------------------------------------------------------------- events
    def killed_or_stopped(self) -> None:
        number = self.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        seconds = self.rng.uniform(0.0, 1.2 * self.reference.seconds)
        rank = self.rng.randrange(self.scene.processes)
        self.launch(
            f"{number.name} at a time",
            {"rank": rank, "signal": int(number), "seconds": seconds},
            f"rank {rank} after {seconds:.2f} s",
        )

    def at_a_write(self) -> None:
        writes = self.rng.randint(1, WRITES)
        plan = {"rank": 0, "signal": int(signal.SIGKILL), "writes": writes}
        self.launch("SIGKILL at a write", {**plan, "folder": str(self.runs)}, f"number {writes}")

    def no_space(self) -> None:
        writes = self.rng.randint(1, WRITES)
        plan = {"rank": 0, "space": 0, "writes": writes, "folder": str(self.runs)}
        self.launch("no space from a write on", plan, f"number {writes}")

    def full_disk(self) -> None:
        size = self.rng.randrange(4096, int(1.5 * self.reference.bytes))
        disk.mount(self.runs, size)
        self.launch("full disk", {"rank": -1, "space": size}, f"of {size} bytes")
        disk.grow(self.runs)

    def full_disk_of_kernels(self) -> None:
        """They are compiled anew, in files of together about 2 MB."""
        kept, size = self.cache, self.rng.randrange(4096, 3 << 20)
        self.cache = self.box / "cache"
        self.cache.mkdir(mode=0o700)
        disk.mount(self.cache, size)
        self.launch("full disk of kernels", {"rank": -1, "space": size}, f"of {size} bytes")
        disk.unmount(self.cache)
        self.cache.rmdir()
        self.cache = kept

    def damaged_run(self) -> None:
        run = self.newest()
        assert run is not None
        self.damage(files_of_run(run), "of the run")

    def damaged_data(self) -> None:
        self.damage(files_of_data(self.scene, self.data), "of the data")

    def damaged_kernel(self) -> None:
        self.damage(files_of_cache(self.cache), "of the kernels")
        self.pending.clear()  # nobody mends a library: it is compiled again

    def damage(self, files: list[Path], what: str) -> None:
        """Damage one of the files, then resume; half of the time the launch is killed, too."""
        kind, path = self.rng.choice(list(DAMAGES)), self.rng.choice(files)
        self.pending.append(DAMAGES[kind](path, self.rng))
        plan = None
        if self.rng.random() < 0.3:
            seconds = self.rng.uniform(0.5, 1.0) * self.reference.seconds
            plan = {"rank": 0, "signal": int(signal.SIGKILL), "seconds": seconds}
        self.launch(f"{kind} {what}", plan, self.pending[-1].words)

    # ------------------------------------------------------------------------------------- launches
    def newest(self) -> Path | None:
        found = sorted(file.parent for file in self.runs.glob("run/*/config.yaml"))
        return found[-1] if found else None

    def launch(self, event: str, plan: Plan | None, words: str = "") -> None:
        """Start or resume the run, and note what came of it."""
        newest = self.newest()
        by_path = newest is not None and self.rng.random() < 0.5
        resume = f"trainer.resume={newest if by_path else 'auto'}"
        script = ["cifar.py"]
        if plan is not None:
            script = ["-m", "tests.soak.child", json.dumps(plan)]
        arguments = [*script, *self.scene.arguments(self.runs, self.data), resume]
        environment = {"ACCELERATE_USE_CPU": "1", "XDG_CACHE_HOME": str(self.cache)}
        command = forks.Command(arguments, self.scene.processes, environment, LIMIT)
        (ended,) = forks.run_together(command)
        note = f"{words}; {'by path' if by_path else 'auto'}" if words else ""
        self.events.append((event, "wrong"))
        print(f"    {event:<26} {note}", end="", flush=True)
        outcome = judge(ended, plan, self.pending)
        self.events[-1] = (event, outcome)
        print(f" -> {outcome}{self.said(ended) if outcome == 'refused' else ''}", flush=True)
        if outcome in ("finished", "told"):
            self.finished = ended
        if outcome == "refused":
            for damage in self.pending:
                damage.mend()
            self.pending.clear()

    def said(self, ended: list[Ended]) -> str:
        lines = ended[0].stderr[ended[0].stderr.index("error: ") :].splitlines()
        return f": {lines[0].removeprefix('error: ').replace(str(self.box), '')[:150]}"

    def compare(self) -> None:
        """Whether the result is that of the reference. Raises: WrongError."""
        if self.finished is None:
            raise WrongError("the run was refused again and again")
        event, outcome = self.events[-1]
        found = fingerprint(Path(run_directory(self.finished)))
        wrong = [name for name, bits in self.reference.bits.items() if found.get(name) != bits]
        same = not wrong and found.keys() == self.reference.bits.keys()
        if same:
            self.events[-1] = event, "finished"
        elif outcome != "told":
            self.events[-1] = event, "wrong"
            raise WrongError(f"other bits in {', '.join(wrong)}{end_of(self.finished)}")

    def close(self, keep: bool) -> None:
        """Remove its files, unless they are to be looked at."""
        if not keep:
            disk.unmount(self.runs)
            shutil.rmtree(self.box)
