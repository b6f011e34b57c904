"""The runs that are disturbed: command lines of a few seconds, and the data that they read."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests import forks
from tests.experiments.data.generated_data import write_idx_dataset, write_tree
from tests.experiments.training.fingerprint import fingerprint

EPOCHS, STEPS = 2, 6
LIMIT = 180.0  # seconds after which a launch hangs: hundreds of times what it takes
_COMMON = (
    "name=run", f"trainer.epochs={EPOCHS}", f"trainer.limit_steps={STEPS}",
    "trainer.checkpoint_steps=2", "trainer.progress=false", "trainer.cpu=true",
    "data.image_size=16", "data.validation_fraction=0.2", "model=simple_conv_kagn",
    "model.layer_sizes=[4,4,8,8]", "trainer.evaluation_batch_size=64",
)  # fmt: skip
# Everything that has a state, as tests/experiments/training/test_resume.py has it.
_ALL_STATES = (
    "data=digits", "data.workers=1", "data.train_size=400", "augment=basic", "augment.mixup=0.4",
    "model.dropout=0.1", "model.backend=cpp", "penalty.l1_decay=1e-5", "scheduler=onecycle",
    "trainer.batch_size=32", "trainer.accumulation=2", "trainer.ema_decay=0.9",
)  # fmt: skip
_PLAIN = ("augment=none", "scheduler=constant", "model.backend=torch", "trainer.keep_last=3")


@dataclass(frozen=True)
class Scene:
    """A command line, and for how many processes; reads: files of the data, if it has its own."""

    name: str
    options: tuple[str, ...]
    processes: int = 1
    reads: tuple[str, ...] = ()

    @property
    def compiles(self) -> bool:
        return "model.backend=cpp" in self.options

    def arguments(self, runs: Path, data: Path) -> list[str]:
        root = [f"data.root={data}", "data.download=false"] if self.reads else []
        return [*_COMMON, *self.options, *root, f"runs_dir={runs}"]


SCENES = (
    Scene("one process", _ALL_STATES),
    Scene("two processes", _ALL_STATES, processes=2),
    Scene("idx", ("data=mnist", "trainer.batch_size=16", *_PLAIN), reads=("*ubyte",)),
    Scene("packed idx", ("data=mnist", "trainer.batch_size=16", *_PLAIN), reads=("*.gz",)),
    Scene(
        "folder",
        ("data=folder", "data.workers=2", "trainer.batch_size=8", *_PLAIN),
        processes=2,
        reads=("*/*/*.png",),
    ),
)


def write_data(scene: Scene, folder: Path) -> None:
    """The files that a scene reads."""
    folder.mkdir()
    if scene.name == "folder":
        write_tree(folder, ("train", "test"), count=40, size=(16, 16))
    elif scene.reads:
        write_idx_dataset(folder, ".gz" if "packed" in scene.name else "", train=160, test=40)


@dataclass
class Reference:
    """What an undisturbed run of a scene wrote, and what it took of the processor and the disk."""

    bits: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    bytes: int = 0


def make_reference(scene: Scene, box: Path, cache: Path) -> Reference:
    """Run a scene without a disturbance. Raises: AssertionError if it does not end well."""
    runs, data = box / "runs", box / "data"
    box.mkdir()
    write_data(scene, data)
    plan = json.dumps({"rank": 0, "file": str(box / "seconds")})
    arguments = ["-m", "tests.soak.child", plan, *scene.arguments(runs, data)]
    environment = {"ACCELERATE_USE_CPU": "1", "XDG_CACHE_HOME": str(cache)}
    ended = forks.run(*arguments, processes=scene.processes, **environment)
    assert {e.returncode for e in ended} == {0}, ended[0].stdout + ended[0].stderr
    (run,) = (runs / "run").iterdir()
    size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    found = Reference(fingerprint(run), float((box / "seconds").read_text()), size)
    shutil.rmtree(box)
    return found
