"""The command: kan-images COMMAND ..., or python -m experiments COMMAND ...

Each command is a script or a module that works alone, too: this file only finds it. It loads no
more than that, so help and mistakes are answered at once.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from experiments.app import exit_with_message
from experiments.config.places import entry_names, find_script
from experiments.errors import UserError, nearest

MODULES = {
    "evaluate": "experiments.evaluate",
    "predict": "experiments.predict",
    "export": "experiments.export",
    "report": "experiments.report",
    "tune": "experiments.tuning",
    "models": "models",
}
USAGE = f"""\
kan-images train {"|".join(entry_names())}|FILE.py [KEY=VALUE ...]
kan-images evaluate RUN [KEY=VALUE ...]     the figures of a trained run on any data
kan-images predict RUN PATH ...             what it says of images
kan-images export RUN --format FORMAT       for other programs
kan-images report RUN ...                   runs as a table
kan-images tune [KEY=VALUE ...]             search for settings
kan-images models NAME [KEY=VALUE ...]      a network, its size and what training it takes

Each answers to --help. Several processes: accelerate launch -m experiments train cifar ...
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 for help; commands end the process with codes of their own."""
    command, *rest = [*(sys.argv[1:] if words is None else words), ""]
    rest = rest[:-1]
    if command in ("", "-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    with exit_with_message():
        _run(command, rest)
    return 0


def _run(command: str, words: Sequence[str]) -> None:
    if command == "train":
        if not words or words[0].startswith("-"):
            raise UserError(f"kan-images train: which script?\n{USAGE.splitlines()[0]}")
        script = find_script(words[0])
        sys.argv = [str(script), *words[1:]]
        sys.path.insert(0, str(script.parent))  # as python FILE.py has it
        runpy.run_path(str(script), run_name="__main__")
    elif command in MODULES:
        sys.argv = [f"kan-images {command}", *words]
        runpy.run_module(MODULES[command], run_name="__main__")
    else:
        known = ["train", *MODULES]
        raise UserError(
            f"kan-images {command} is no command{nearest(command, known) or '.'} "
            f"Type one of {', '.join(known)}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
