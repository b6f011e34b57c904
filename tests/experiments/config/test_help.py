"""Help is answered at once, and a misspelt key is: neither needs torch."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from experiments.config.help import help_text
from experiments.errors import ConfigError
from tests.forks import ROOT


@pytest.mark.parametrize("argument, code", [("--help", 0), ("trainer.epoch=3", 2)])
def test_answers_need_no_torch(argument: str, code: int) -> None:
    # Not a fork of an interpreter that has imported everything already.
    line = [sys.executable, "-X", "importtime", "cifar.py", argument]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    assert "experiments.app" in loaded and "hydra" in loaded
    assert not {"torch", "numpy", "timm", "torchvision", "accelerate", "rich"} & loaded


def test_help_names_every_choice_and_the_options_of_this_command() -> None:
    text = help_text("cifar.py", "cifar", ["optimizer=sgd", "trainer.epochs=7"])
    assert text.startswith("python cifar.py ")
    assert "  optimizer: adamw, lamb, lbfgs, lion, sgd\n" in text
    assert "momentum: 0.9" in text and "betas" not in text and "epochs: 7" in text
    assert "_default" not in text and "_classification" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_help_names_the_models_of_its_task_alone() -> None:
    cifar, maps = (help_text("x.py", name, []) for name in ("cifar", "segmentation"))
    assert " simple_conv_kagn," in cifar and " ukagnet," not in cifar
    assert " ukagnet," in maps and " simple_conv_kagn," not in maps


def test_help_of_what_does_not_exist_is_a_message() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sgd'"):
        help_text("cifar.py", "cifar", ["optimizer=sg"])
