"""A trained network as one file for other programs, compared on the spot with what it was.

    python -m experiments.export RUN --format onnx --out DIR

Formats: onnx (model.onnx, and run_onnx.py, which runs it with onnxruntime, numpy and Pillow alone;
of volumes on .npy files, with onnxruntime and numpy), torch_export (model.pt2, for
torch.export.load), safetensors (the weights, with the description of the network in them), hub
(config.json and model.safetensors, for models.from_pretrained). Batches may have any size, and
inputs have that of training. Beside all of them transform.json says how an image becomes an input.
Exit codes: 0 done, 2 a mistake that the message explains, or a network that would answer otherwise.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from experiments.app import exit_with_message
from experiments.data.extras import import_extra
from experiments.errors import ConfigError, UserError, in_words, shortage
from experiments.files import atomic_path, write_json
from experiments.runs.terminal import lasting_output
from experiments.tasks.answers import Answering
from experiments.training.tensor_files import pack_tensors
from experiments.usage.load import LoadedRun, load_run
from experiments.usage.standalone import NETWORK, write_program, write_transform
from models.description import note_of_weights

CLOSE = 1e-5  # the largest error, relative to the largest output, with which a file is left
TRACED, CHECKED = 2, (1, 3)  # images of a batch: what is traced, and what is tried afterwards
LARGE = 1_500_000_000  # bytes from which ONNX wants the weights in a second file
Run = Callable[[Tensor], Tensor]
Written = tuple[list[Path], Run]  # files, that of the network first, and what they compute


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a run, its best.safetensors, or a hub folder")
    parser.add_argument("--format", choices=tuple(FORMATS), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder")
    parser.add_argument("--script", metavar="FILE", help="the script that registers the network")
    options = parser.parse_args(arguments)
    with lasting_output(), exit_with_message("stopped"), in_words():
        run = load_run(options.run, options.script)
        console = Console(soft_wrap=True, markup=False, emoji=False)
        with console.status(f"exporting {run.description.model}"):
            found = export(run, options.format, options.out)
        table = Table(title=f"{run.description.model} as {options.format}")
        table.add_column("file")
        table.add_column("bytes", justify="right")
        for name in found["files"]:
            table.add_row(name, f"{(options.out / name).stat().st_size:,}")
        console.print(table)
        console.print(
            f"in {options.out}; batches of {' and '.join(map(str, CHECKED))} differ from the "
            f"network by {found['error']:.2g} of the largest output"
        )
    return 0


def export(run: LoadedRun, form: str, folder: Path) -> dict[str, Any]:
    """Write a network into a folder, and compare it with the one in memory.

    Returns what export.json holds as well: format, files, and error, the largest difference of two
    outputs relative to the largest output.
    Raises: ConfigError: it cannot be exported, the folder cannot be written, or its outputs differ
        by more than 1e-5; then the file is removed.
    """
    network = Answering(run.model, _whole(run)).eval()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (file, *beside), exported = FORMATS[form](run, network, folder)
        error = _error(network, exported, run.description.input_shape)
        if not error <= CLOSE:
            file.unlink()
            raise ConfigError(
                f"{form}: the outputs differ by {error:.2g} of the largest one, and may by "
                f"{CLOSE:g}; {file} was removed. Try another format"
            )
        files = [file, *beside, write_transform(folder, run.description)]
        if file.name == NETWORK and run.description.preprocessing is not None:
            files.append(write_program(folder, run.answers, run.transform.program))
        names = [path.name for path in files]
        found = {"model": run.description.model, "format": form, "files": names, "error": error}
        write_json(folder / "export.json", found)
        return found
    except OSError as error:
        raise shortage(error) or ConfigError(
            f"--out {folder}: {error.strerror}; choose another folder"
        ) from error


def _whole(run: LoadedRun) -> Any:
    """How outputs are read, without windows: an input has the size of training."""
    answers = copy(run.answers)
    answers.options = type(answers.options)(name=answers.options.name)
    return answers


def _error(network: Run, exported: Run, shape: Sequence[int]) -> float:
    """The largest |a - b| / max |a| over batches that were not traced; inf where any is NaN."""
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for images in CHECKED:
        inputs = torch.randn(images, *shape, generator=generator)
        with torch.no_grad():
            expected, found = network(inputs), exported(inputs)
        if expected.shape != found.shape or not bool(found.isfinite().all()):
            return float("inf")
        scale = float(expected.abs().max()) or 1.0
        worst = max(worst, float((expected - found).abs().max()) / scale)
    return worst


@contextmanager
def _in_words(form: str, run: LoadedRun) -> Iterator[None]:
    """Exporters raise errors of all kinds, and warn of their own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"{run.description.model} cannot be exported as {form}: {said}\nOther formats: "
            f"{', '.join(FORMATS)}"
        ) from error
    finally:
        logger.setLevel(level)


def _example(run: LoadedRun) -> tuple[Tensor]:
    return (torch.zeros(TRACED, *run.description.input_shape),)


def _to_onnx(run: LoadedRun, network: Answering, folder: Path) -> Written:
    import_extra("onnxscript", "--format onnx")
    runtime = import_extra("onnxruntime", "--format onnx, which is tried on the spot,")
    path = folder / NETWORK
    size = sum(p.numel() * p.element_size() for p in network.parameters())
    with _in_words("onnx", run):
        torch.onnx.export(
            network, _example(run), path, dynamo=True, verbose=False, input_names=["images"],
            output_names=["outputs"], external_data=size > LARGE,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def exported(inputs: Tensor) -> Tensor:
        (outputs,) = session.run(None, {"images": inputs.numpy()})
        return torch.from_numpy(outputs)

    return [path], exported


def _to_torch_export(run: LoadedRun, network: Answering, folder: Path) -> Written:
    path = folder / "model.pt2"
    with _in_words("torch_export", run):
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, _example(run), dynamic_shapes=shapes)
        torch.export.save(program, path)
        return [path], torch.export.load(path).module()


def _to_safetensors(run: LoadedRun, network: Answering, folder: Path) -> Written:
    described = run.description.to_dict()
    note = note_of_weights(f"{run.description.model}, exported", described)
    path = folder / "model.safetensors"
    with atomic_path(path) as temporary:
        temporary.write_bytes(pack_tensors(run.model.state_dict(), note))
    return [path], Answering(load_run(path).model, network.answers)


def _to_hub(run: LoadedRun, network: Answering, folder: Path) -> Written:
    from models.hub import save_pretrained  # the hub's client comes with it

    save_pretrained(run.model, folder, run.description)
    written = [folder / "model.safetensors", folder / "config.json"]
    return written, Answering(load_run(folder).model, network.answers)


FORMATS = {
    "onnx": _to_onnx,
    "torch_export": _to_torch_export,
    "safetensors": _to_safetensors,
    "hub": _to_hub,
}
