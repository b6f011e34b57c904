"""What a word of a command line was meant to be, where it is no override that works."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from experiments.config import command_line
from experiments.config.command_line import read_command_line
from experiments.config.compose import known_keys
from experiments.errors import ConfigError


@pytest.fixture(autouse=True, scope="module")
def known_once() -> Iterator[None]:
    """The same keys for every word: composing them takes a quarter of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "known_keys", functools.cache(known_keys))
        yield


@pytest.mark.parametrize("words, meant", [
    # not KEY=VALUE
    (["--epochs", "5"], "--epochs 5 is no override: these are KEY=VALUE, without dashes or spaces; "
                        "type trainer.epochs=5"),
    (["--epochs=5"], "type trainer.epochs=5"),
    (["-lr", "1"], "-lr 1 is no override"),
    (["seed=1", "epochs", "5"], "type trainer.epochs=5"),
    (["trainer.epochs", "=", "5"], "trainer.epochs = 5 is no override"),
    (["trainer.epochs=", "5"], "trainer.epochs= 5: an override has no spaces in it; type "
                               "trainer.epochs=5"),
    (["trainer.epochs:5"], "type trainer.epochs=5"),
    (["--resume"], "type trainer.resume=VALUE"),
    (["SIMPLE_CONV"], "type model=simple_conv"),
    (["simple_conv_kagm"], "type model=simple_conv_kagn"),
    (["digits"], "type data=digits"),
    (["foo"], "for example trainer.epochs=5"),
    (["--hlep"], "did you mean --help?"),
    (["--multi-run", "seed=0,1"], "did you mean --multirun?"),
    # not to be read
    (["trainer.epochs==5"], "one = is enough; type trainer.epochs=5"),
    (["model.layer_sizes=[4,4,8"], "type 'model.layer_sizes=[4,4,8]', in quotes"),
    (["name=${"], "{ and } are not in pairs"),
    (["runs_dir=~/runs"], "type \"runs_dir='~/runs'\""),
    # several values
    (["seed=0,1"], "for a run with each of them type --multirun seed=0,1"),
    (["model.layer_sizes=4,4,8,8"], "for a list 'model.layer_sizes=[4,4,8,8]'"),
    (["optimizer.lr=0,001"], "for a decimal number optimizer.lr=0.001"),
    (["--multirun", "model=glob(vgg*)"], "list its values, as in model=A,B"),
    # groups
    (["optimizer=null"], "optimizer cannot be left out\nChoose one of: adamw, lamb"),
    (["~optimizer"], "optimizer cannot be left out"),
    (["model="], "model= does not exist\nChoose one of: cnn, densefourierkanet"),
    (["trainer=5"], "trainer takes a name; keys are set one by one"),
    (["data=_default"], "data=_default does not exist\nChoose one of: canvas"),
    (["data=a/b"], "data=a/b does not exist\nChoose one of: canvas"),
    (["loss=_classification"], "Choose one of: bce, cross_entropy, dice"),
    (["data=[digits,mnist]"], "several runs are --multirun data=digits,mnist"),
    (["debug=none"], "for none of them leave debug out\nChoose one of: fast, overfit"),
    (["+debug=fast"], "type debug=fast"),
    (["--multirun", "debug=null,fast"], "null cannot be one of several"),
    # keys, see test_keys.py
    (["lr=1e-3"], "lr is not a known key; did you mean 'optimizer.lr'?"),
    (["~model.frobnicate"], "model.frobnicate is not a known key\nThe keys of model: activation"),
])  # fmt: skip
def test_a_word_is_told_what_was_meant(words: list[str], meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_command_line("cifar", words)
    message = str(caught.value)
    assert meant in message
    assert "Lexer" not in message and "_default," not in message


@pytest.mark.parametrize("words, overrides", [
    (["debug=null", "experiment=null", "seed=1"], ["seed=1"]),
    (["~debug", "debug=fast"], ["debug=fast"]),
    (["seed=0,1", "-m"], ["--multirun", "seed=0,1"]),
    (["runs_dir='~/runs'"], ["runs_dir='~/runs'"]),
    (["model.layer_sizes=[4,4,8,8]", "~trainer.epochs"], ["model.layer_sizes=[4,4,8,8]",
                                                          "~trainer.epochs"]),
])  # fmt: skip
def test_what_works_is_handed_on(words: list[str], overrides: list[str]) -> None:
    assert read_command_line("cifar", words) == overrides
