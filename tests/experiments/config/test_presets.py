"""Options of a preset give way to the choices beside it; what was typed does not."""

from __future__ import annotations

import pytest

from experiments.config import presets
from experiments.config.compose import load_config
from experiments.config.presets import leave_out
from experiments.errors import ConfigError
from tests.experiments.conftest import command

QUICK = "experiment=quickstart"


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_told", set())


@pytest.mark.parametrize("words, said", [
    (["model=simple_conv"], ["model.head, which model=simple_conv does not have"]),
    (["optimizer=lbfgs"], ["optimizer.weight_decay, which optimizer=lbfgs does not have"]),
    (["model=eight_simple_conv_kagn"], ["model.layer_sizes, which model=eight_simple_conv_kagn "
                                        "does not take as [16, 32, 32, 64]"]),
    (["model=simple_conv_kan"], []),
])  # fmt: skip
def test_what_does_not_apply_is_left_out_with_a_line(
    words: list[str], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        load_config("cifar", [QUICK, *words])
    assert caplog.messages == [f"{QUICK} sets {text}: left out" for text in said]


def test_what_applies_stays() -> None:
    config = load_config("cifar", [QUICK, "model=simple_conv"])
    assert config.model["layer_sizes"] == [16, 32, 32, 64] and config.optimizer.lr == 1e-2


@pytest.mark.parametrize("words, said", [
    (["model=simple_conv", "model.head=linear"], "simple_conv has no option 'head'"),
    (["model=eight_simple_conv", "model.layer_sizes=[1,2]"], "must be a list of 8 integers"),
    (["optimizer=lbfgs", "optimizer.weight_decay=0"], "optimizer.weight_decay is an option of"),
])  # fmt: skip
def test_what_was_typed_is_an_error(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("cifar", [QUICK, *words])
    assert said in str(caught.value)


def test_a_slip_in_a_preset_is_an_error() -> None:
    values = {"model": {"name": "simple_conv", "degreee": 3, "degree": 3}}
    assert leave_out(values, []) == [
        "the config sets model.degree, which model=simple_conv does not have: left out"
    ]
    assert values["model"] == {"name": "simple_conv", "degreee": 3}


def test_the_command_line_runs_a_varied_preset(tmp_path) -> None:
    short = [
        "data.train_size=96",
        "trainer.epochs=1",
        "trainer.limit_steps=1",
        "trainer.test=false",
    ]
    done = command(QUICK, "model=simple_conv", f"runs_dir={tmp_path}", *short)
    assert done.returncode == 0, done.stderr
