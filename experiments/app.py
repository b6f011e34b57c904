"""One way to a run: `run(config)` trains, tests and writes the run directory.

Entry scripts call `launch`, which adds the command line: Hydra composes, errors become messages.
torch and all that is built on it wait until a config has passed its checks: help and a misspelt
key are answered at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.config.command_line import HELP, HYDRA, read_command_line, read_overrides
from experiments.config.compose import store_rows, to_config
from experiments.config.groups import CONFIG_DIR
from experiments.config.help import help_text
from experiments.config.schema import Config
from experiments.errors import ConfigError, ResourceError, UserError, in_words
from experiments.runs.terminal import lasting_output
from experiments.training.interrupt import Interrupted

if TYPE_CHECKING:
    from experiments.runs.ending import Result

GetData = Callable[[Config], tuple[Any, Any, Any]]  # (train, validation, test)


def default_data(config: Config) -> tuple[Any, Any, Any]:
    """The dataset that the config names."""
    from experiments.data import load_datasets

    return load_datasets(config.data)


def run(config: Config, get_data: GetData = default_data) -> Result:
    """Train, select by validation, test once; everything is written to a run directory.

    With trainer.mode=evaluate the test split goes through trained weights, and nothing else.

    Raises UserError (ConfigError, DataError, CheckpointError, TrainingError, ResourceError) with a
    message for the user; Interrupted when a signal asked to stop and the checkpoint is written.
    """
    from experiments.runs.directory import check_name
    from experiments.runs.evaluating import run_evaluation
    from experiments.runs.model import check_model
    from experiments.runs.prepare import run_session

    check_name(config)
    check_model(config)
    with lasting_output(), in_words():
        evaluates = config.trainer.mode == "evaluate"
        return (run_evaluation if evaluates else run_session)(config, get_data)


# ------------------------------------------------------------------------------------ command line
def launch(config_name: str, get_data: GetData = default_data) -> None:
    """Run from the command line: `python script.py [KEY=VALUE ...] [--multirun] [--help]`.

    Exit codes: 0 done, 2 a mistake that the message explains, 128 + n stopped by signal n.
    """
    with lasting_output():
        _launch(config_name, get_data)


def _launch(config_name: str, get_data: GetData) -> None:
    words = sys.argv[1:]
    if not set(HYDRA) & {word.partition("=")[0] for word in words}:
        with exit_with_message():
            if set(HELP) & set(words):
                overrides = read_overrides(config_name, words)
                print(help_text(Path(sys.argv[0]).name, config_name, overrides), end="")
                return
            sys.argv[1:] = read_command_line(config_name, words)
            _require_given(config_name, get_data)

    @hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)
    def main(node: DictConfig) -> None:
        with exit_with_message():
            run(to_config(node, HydraConfig.get().overrides.task), get_data)

    store_rows()
    main()
    leave_process_group()


def _require_given(config_name: str, get_data: GetData) -> None:
    """Refuse a script whose get_data would be ignored. Raises: ConfigError."""
    script = sys.modules["__main__"]
    if get_data is default_data and hasattr(script, "get_data"):
        name = Path(str(getattr(script, "__file__", None) or sys.argv[0])).name
        raise ConfigError(
            f"{name} defines get_data, which launch was not given: type "
            f'launch("{config_name}", get_data)'
        )


def leave_process_group() -> None:
    """End what torch.distributed has begun, if anything trained at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_initialized():
        gc.collect()  # a model wrapper that outlives the group aborts the process at its exit
        torch.distributed.destroy_process_group()


class exit_with_message:  # noqa: N801 - used like contextlib.suppress
    """Turn a UserError or BackendError into its message and exit code 2.

    Interrupted becomes exit code 128 + signal, and a KeyboardInterrupt, where `stopped` says what
    is left of the work, that and 130.
    """

    def __init__(self, stopped: str | None = None) -> None:
        self.stopped = stopped

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        rank = int(os.environ.get("RANK", "0"))
        if isinstance(error, Interrupted):
            raise SystemExit(128 + error.number)
        if isinstance(error, KeyboardInterrupt) and self.stopped is not None:
            print(self.stopped, file=sys.stderr, flush=True)
            raise SystemExit(130) from None
        if isinstance(error, UserError) or _is_backend_error(error):
            own = isinstance(error, ResourceError) and rank > 0  # a machine or process of its own
            if rank == 0 or own:  # else the others have the same one
                sys.stdout.flush()
                where = f"process {rank}: " if own else ""
                print(f"error: {where}{error}", file=sys.stderr, flush=True)
            raise SystemExit(2)


def _is_backend_error(error: BaseException | None) -> bool:
    """Whether a layer's backend cannot run; asked of its module only where that is loaded."""
    backend = sys.modules.get("conv_kan.ops.backend")
    return backend is not None and isinstance(error, backend.BackendError)
