"""Distributions are read as they are written, draw what they say, and refuse what means nothing."""

from __future__ import annotations

import pytest

from experiments.errors import ConfigError
from experiments.tuning.distributions import Condition, parse_distribution, split_arguments
from experiments.tuning.space import Dice, read_space


def read(text: str):
    return parse_distribution("key", text)[0]


def test_ends_points_and_options() -> None:
    assert read("choice(2, 'a, b', [8, 16], null)").corners() == ["2", "'a, b'", "[8, 16]", "null"]
    assert read("uniform(0, 2)").corners() == ["0.0", "2.0"]
    assert read("loguniform(1e-05, 1)").corners() == ["1e-05", "1.0"]
    assert read("randint(1, 3)").points() == ["1", "2", "3"]
    assert read("quniform(32, 128, 32)").points() == ["32", "64", "96", "128"]
    assert read("quniform(0.1, 0.4, 0.1)").points() == ["0.1", "0.2", "0.3", "0.4"]
    assert read("uniform(0, 1)").points() == []
    assert split_arguments("a(b, c), {d: [e, f]}, 'g, h'") == ["a(b, c)", "{d: [e, f]}", "'g, h'"]


@pytest.mark.parametrize(
    "text", ["uniform(-1, 2)", "loguniform(1e-4, 1)", "quniform(0.5, 2, 0.25)", "randint(1, 4)",
             "choice(2, 3)", "quniform(2, 8, 2)"]
)  # fmt: skip
def test_draws_lie_within_and_their_text_is_the_number(text: str) -> None:
    distribution, dice = read(text), Dice(0)
    drawn = {distribution.draw(dice, "key") for _ in range(200)}
    points = set(distribution.points())
    assert drawn == points if points else len(drawn) == 200
    for value in drawn if not distribution.options else ():
        number = float(value)
        assert distribution.low <= number <= distribution.high
        assert distribution.text(distribution.value(value)) == value


def test_a_logarithm_spreads_evenly_over_powers() -> None:
    distribution, dice = read("loguniform(1e-4, 1)"), Dice(0)
    below = sum(float(distribution.draw(dice, "key")) < 1e-2 for _ in range(2000))
    assert 900 < below < 1100


def test_numbers_are_brought_back_within_the_bounds() -> None:
    assert read("uniform(0, 2)").nearest(3) == "2.0"
    assert read("quniform(0.5, 2, 0.25)").nearest(0.8) == "0.75"
    assert read("randint(1, 4)").nearest(9) == "4"


def test_conditions() -> None:
    distribution, condition = parse_distribution("g", "uniform(0, 3) if loss=focal|bce")
    assert condition == Condition("loss", ("focal", "bce")) and distribution.high == 3
    space = read_space({
        "loss.gamma": "uniform(0.5, 3) if loss=focal",
        "loss": "choice(cross_entropy, focal)",
        "gone": None,
    })  # fmt: skip
    assert space.keys == ["loss", "loss.gamma"]
    drawn = [space.draw(Dice(seed)) for seed in range(40)]
    assert {("loss.gamma" in v) == (v["loss"] == "focal") for v in drawn} == {True}
    assert {v["loss"] for v in drawn} == {"cross_entropy", "focal"}
    assert space.needed_for("loss.gamma") == {"loss": "focal"}


def test_a_grid_has_every_combination_once() -> None:
    texts = {"a": "choice(x, y)", "b": "randint(1, 3) if a=y", "c": "quniform(0, 1, 0.5)"}
    grid = read_space(texts).grid()
    assert len(grid) == 3 + 9 and len({tuple(v.items()) for v in grid}) == 12
    assert {"a": "x", "c": "0.5"} in grid and {"a": "y", "b": "3", "c": "1.0"} in grid
    with pytest.raises(ConfigError, match=r"tune.space.d=uniform\(0, 1\): a grid needs points"):
        read_space({"d": "uniform(0, 1)"}).grid()


@pytest.mark.parametrize("text, words", [
    ("5", "must be one of choice"),
    ("lognormal(1, 2)", "no distribution is called lognormal; did you mean 'loguniform'"),
    ("uniform(1)", r"has 1 values; it is uniform\(LOW, HIGH\)"),
    ("uniform(2, 1)", "LOW=2 must be less than HIGH=1"),
    ("uniform(a, 1)", "a is no number"),
    ("uniform(0, inf)", "inf must be finite"),
    ("loguniform(0, 1)", "LOW=0 must be positive"),
    ("randint(0.5, 2)", "its ends must be integers"),
    ("quniform(0, 1, 0)", "STEP=0 must be positive"),
    ("quniform(0, 1, 0.3)", "do not meet HIGH; type HIGH=0.9"),
    ("choice()", "a choice needs values"),
    ("choice(1, 2, 1)", "1 stands in it twice"),
    ("uniform(0, 1) if loss", "a condition is: if KEY=VALUE"),
])  # fmt: skip
def test_what_means_nothing_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_distribution("optimizer.lr", text)
    assert str(error.value).startswith(f"tune.space.optimizer.lr={text}")


@pytest.mark.parametrize("texts, words", [
    ({"a": "uniform(0, 1) if b=x"}, "b is not a key of this space"),
    ({"a": "uniform(0, 1) if b=z", "b": "choice(x, y)"}, "b never is z"),
    ({"a": "choice(1, 2) if b=x", "b": "choice(x, y) if a=1"}, "depend on each other"),
])  # fmt: skip
def test_conditions_that_never_hold_are_refused(texts: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_space(texts)
