"""The words of the command; a space that cannot work is refused before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from experiments.config.compose import load_config
from experiments.config.groups import group_options
from experiments.errors import ConfigError, UserError
from experiments.tuning import request
from experiments.tuning.checks import Composer, check_space
from experiments.tuning.launch import main
from experiments.tuning.request import (
    Goals,
    Request,
    goals_of,
    read_options,
    read_request,
    setting_overrides,
)

FIXED = ["data=digits", "trainer.epochs=3"]


composer_of = cache(lambda name, common: Composer(name, common))
load = cache(load_config)


@pytest.fixture(autouse=True, scope="module")
def composed_once() -> Iterator[None]:
    """Most tests have the same words for all trials, and a composition takes half a second."""
    group, line = cache(request.compose_group), cache(request.read_command_line)
    patch = pytest.MonkeyPatch()
    patch.setattr(request, "compose_group", lambda g, n, o=(): dict(group(g, n, tuple(o))))
    patch.setattr(request, "read_command_line", lambda name, words: line(name, tuple(words)))
    yield
    patch.undo()


def request_of(*words: str) -> Request:
    options, rest = read_options(words)
    return read_request(options, [*FIXED, *rest])


def read_goals(asked: Request) -> Goals:
    config = load(asked.options.config_name, asked.fixed)
    return goals_of(config, asked.settings.objectives)


def check(*words: str) -> None:
    asked = request_of(*words)
    common = list(setting_overrides(asked, read_goals(asked)))
    check_space(asked, composer_of(asked.options.config_name, tuple(common)))


def line(text: str) -> str:
    return f"tune.space.{text}"


def test_words_are_the_searchs_or_every_trials() -> None:
    asked = request_of(
        "tune=kagn_small", "tune.trials=5", "tune.objectives=[accuracy,macs]",
        "tune.scheduler=none", "tune.space.model.degree=null",
        "tune.space.loss=choice(focal, bce)", "model.layer_sizes=[8,8,8,8]",
    )  # fmt: skip
    assert asked.settings.trials == 5 and asked.name == "kagn_small"
    assert set(asked.space.keys) == {"optimizer.lr", "optimizer.weight_decay", "model.dropout",
                                       "loss"}  # fmt: skip
    assert asked.fixed == (*FIXED, "model.layer_sizes=[8,8,8,8]")
    goals = read_goals(asked)
    assert [(f.name, f.maximise) for f in goals.objectives] == [("accuracy", True), ("macs", False)]
    assert goals.one is None and goals.monitor.name == "accuracy"
    assert list(setting_overrides(asked, goals))[-3:] == [
        "trainer.threads=1", "trainer.cpu=true", "trainer.monitor=accuracy"]  # fmt: skip


def test_a_space_that_works_passes_without_torch() -> None:
    check(line("optimizer=choice(adamw, sgd)"), line("optimizer.momentum=uniform(0.1, 0.9) "
          "if optimizer=sgd"), line("trainer.batch_size=choice(32, 64)"))  # fmt: skip


TEN_WAYS = [
    ([line("optimizer.lr=lognormal(1, 2)")], "no distribution is called lognormal"),
    ([line("optimizer.lr=uniform(1, 0.1)")], "LOW=1 must be less than HIGH=0.1"),
    ([line("optimizer.lr=loguniform(0, 1)")], "there is no logarithm of it"),
    ([line("optimizer.lrr=uniform(0.1, 1)")], "did you mean 'optimizer.lr'"),
    ([line("trainer.batch_size=uniform(16, 32)")], "must be an integer, not a decimal number"),
    ([line("optimizer.lr=uniform(-1, 1)")], "optimizer.lr can be -1.0.*must be positive"),
    ([line("loss=choice(focal, cros_entropy)")], "did you mean 'cross_entropy'"),
    ([line("loss.gamma=uniform(0, 1)")], "loss.gamma is an option of focal"),
    ([line("loss.gamma=uniform(0, 1) if loss=focal")], "loss is not a key of this space"),
    ([line("optimizer.lr=uniform(0.1, 1)"), "optimizer.lr=0.5"], "is given for all trials too"),
    ([line("data.split_seed=randint(0, 3)")], "the same validation images"),
    ([line("runs_dir=choice(a, b)")], "tune.directory says where"),
    ([line("trainer.epochs=randint(1, 3)")], "the same number of epochs"),
    ([line("model.degree=choice(2, 3)"), "tune.scheduler=pbt"], "no key of the space can change"),
    ([line("trainer.batch_size=choice(32, 48)"), "trainer.accumulation=32"],
     "trainer.batch_size can be 48, which is refused.*divide"),
    ([line("optimizer.lr=uniform(0.1, 1)"), "tune.search=grid"], "a grid needs points"),
]  # fmt: skip


@pytest.mark.parametrize("words, sentence", TEN_WAYS)
def test_a_wrong_space_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){sentence}"):
        check(*words)


def test_the_command_says_so_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*FIXED, line("optimizer.lrr=uniform(0.1, 1)"), f"tune.directory={tmp_path}"])
    assert stop.value.code == 2 and not list(tmp_path.iterdir())
    said = capsys.readouterr().err
    assert said.startswith("error: tune.space.optimizer.lrr") and "Traceback" not in said
    assert main(["--help"]) == 0 and "kagn_small" in capsys.readouterr().out


@pytest.mark.parametrize("words, sentence", [
    ([], "there is nothing to search"),
    (["tune=kagn_smal"], "did you mean 'kagn_small'"),
    (["tune=kagn_small", "tune.trails=3"], "tune.trails is not a known key; did you mean"),
    (["tune=kagn_small", "tune.trials=many"], "tune.trials='many': must be an integer"),
    (["tune=kagn_small", "tune.search=genetic"], "tune.search='genetic' is not known"),
    (["tune=kagn_small", "tune.trials=0"], "must be positive or null"),
    (["tune=kagn_small", "tune.objectives=[loss,macs]"], "type tune.scheduler=none"),
    (["tune=kagn_small", "trainer.threads=2"], "tune.cpus says how many"),
    (["tune=kagn_small", "trainer.epoch=2"], "did you mean 'trainer.epochs'"),
    (["tune=kagn_small", "--multirun"], "a search is many runs already"),
    (["tune=kagn_small", "--config-name", "cifa"], "did you mean 'cifar'"),
    (["tune=kagn_small", "--script", "no.py"], "no such file"),
    (["tune=kagn_small", "--seed", "3"], "did you mean '--seeds'"),
])  # fmt: skip
def test_wrong_words_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        request_of(*words)


def test_objectives_are_what_trials_report() -> None:
    asked = request_of("tune=kagn_small", "tune.objectives=[acuracy]")
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        read_goals(asked)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.startswith("published") else ())
        for name in group_options("tune")
        if name != "default"
    ],
)
def test_every_space_of_the_project_works(name: str) -> None:
    options, rest = read_options([f"tune={name}"])
    asked = read_request(options, rest)
    common = list(setting_overrides(asked, read_goals(asked)))
    check_space(asked, composer_of(options.config_name, tuple(common)))
