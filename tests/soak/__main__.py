"""The program: stories until the time is up, then a table of what happened and what came of it."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.soak import disk
from tests.soak.judge import WrongError
from tests.soak.scenes import SCENES, Reference, Scene, make_reference
from tests.soak.story import Story

OUTCOMES = ("finished", "told", "refused", "killed", "stopped", "wrong")


def main() -> int:
    """Return 1 if anything went wrong."""
    options = read_options()
    print(f"seed {options.seed}; {'with' if disk.can_mount() else 'without'} disks that fill up")
    soak = Soak(options.seed, Path(tempfile.mkdtemp(prefix="soak-")))
    if options.story is not None:
        soak.live(options.story)
    else:
        until = time.monotonic() + options.seconds
        for number in itertools.count():
            if time.monotonic() > until:
                break
            soak.live(number)
    return soak.end()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long new stories begin")
    parser.add_argument("--seed", type=int, default=None, help="of all that is random; else new")
    parser.add_argument("--story", type=int, default=None, help="only the one of this number")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


class Soak:
    """Stories of one seed, in a folder."""

    def __init__(self, seed: int, place: Path) -> None:
        self.seed, self.place = seed, place
        self.references: dict[str, Reference] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.stories, self.wrong = 0, []

    def reference(self, scene: Scene) -> Reference:
        """The undisturbed run of a scene, made when the first story asks for it."""
        if scene.name not in self.references:
            made = make_reference(scene, self.place / "reference", self.place / "cache")
            self.references[scene.name] = made
            print(
                f"undisturbed: {scene.name}, {made.seconds:.1f} CPU s, {made.bytes} bytes",
                flush=True,
            )
        return self.references[scene.name]

    def live(self, number: int) -> None:
        """Tell the story of a number."""
        scene: Scene = random.Random(f"{self.seed}/{number}").choice(SCENES)
        reference, box = self.reference(scene), self.place / f"story-{number}"
        print(f"story {number}: {scene.name}")
        story = Story(scene, reference, box, self.place / "cache", f"{self.seed}:{number}")
        right = False
        try:
            story.tell()
            right = True
        except WrongError as error:
            self.wrong.append(number)
            print(f"\n  WRONG: {error}", flush=True)
        finally:
            story.close(keep=not right)
        self.stories += 1
        self.counts.update(story.events)

    def end(self) -> int:
        """Print the table, and how to repeat what went wrong; 1 if anything did."""
        print(f"\n{'event':<28}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
        for event in sorted({event for event, _ in self.counts}):
            row = (self.counts[event, outcome] for outcome in OUTCOMES)
            print(f"{event:<28}" + "".join(f"{count:>10}" for count in row))
        print(
            f"{self.stories} stories, {self.counts.total()} events, {len(self.wrong)} wrong results"
        )
        for number in self.wrong:
            print(f"repeat with: --seed {self.seed} --story {number}")
        if self.wrong:
            print(f"files are in {self.place}")
        else:
            shutil.rmtree(self.place)
        return min(len(self.wrong), 1)


if __name__ == "__main__":
    disk.enter_namespace()
    sys.exit(main())
