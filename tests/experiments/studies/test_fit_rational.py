"""Fits of rational functions: exact ones, errors that are true, files, and mistakes in words."""

import csv

import pytest
import torch
import torch.nn.functional as F

from conv_kan import GroupRational
from experiments.errors import UserError
from experiments.studies.fit_rational import main, parse_orders
from experiments.studies.functions import parse_function
from experiments.studies.rational_fits import Problem, solve
from tests import forks


def problem(text, low=-3.0, high=3.0, num_points=200):
    return Problem(text, parse_function(text), low, high, num_points)


@pytest.mark.parametrize(
    ("text", "orders", "low", "high"),
    [
        ("identity", (5, 4), -3.0, 3.0),
        ("1 - 2*x + 3*x**2", (2, 0), -1.0, 40.0),
        ("x**3 / (1 + 0.5*abs(x) + 2*x**2)", (3, 2), -10.0, 10.0),
        ("1 / (1 + x**2)", (0, 2), 0.0, 0.01),
        ("1e-12 * x", (1, 1), -1.0, 1.0),
    ],
)
def test_rational_functions_are_found_again(text, orders, low, high):
    found = solve(problem(text, low, high), orders)
    a, b = found.coefficients
    assert (len(a), len(b)) == (orders[0] + 1, orders[1]) and all(c >= 0 for c in b)
    scale = float(problem(text, low, high).values().abs().max())
    assert found.inside[0] < 1e-6 * scale


def test_more_coefficients_fit_better_and_the_layer_computes_what_is_printed():
    fits = [solve(problem("gelu"), orders) for orders in ((2, 0), (3, 2), (5, 4))]
    assert [fit.inside[1] for fit in fits] == sorted((f.inside[1] for f in fits), reverse=True)
    assert fits[2].inside[0] < 3e-3 < 1e-2 < fits[1].inside[0] < 3e-2
    x = torch.linspace(-3.0, 3.0, 200, dtype=torch.float64)
    for fit in fits:
        layer = GroupRational(1, fit.coefficients, backend="torch").double()
        with torch.no_grad():
            for p, row in zip(layer.parameters(), fit.coefficients, strict=True):
                p.copy_(torch.tensor(row, dtype=torch.float64))
            error = layer(x.unsqueeze(1)).squeeze(1) - F.gelu(x)
        assert float(error.abs().max()) == pytest.approx(fit.inside[0])
        assert float(error.square().mean().sqrt()) == pytest.approx(fit.inside[1])
        assert fit.outside[0] > fit.inside[0] and fit.outside[0] >= fit.outside[1]


def test_errors_outside_are_as_far_again_on_either_side():
    """The line x misses |x| below 0 alone: on [1, 3], whose outside begins at -1, by 2."""
    near, far = (solve(problem("abs(x)", 1.0, high), (1, 0)) for high in (2.0, 3.0))
    assert near.inside[0] < 1e-7 and far.inside[0] < 1e-7
    assert near.outside[0] < 1e-6 and far.outside[0] == pytest.approx(2.0, rel=0.02)


def test_files_hold_what_is_printed(tmp_path, capsys):
    arguments = ["sigmoid(x) - 0.5", "--orders", "1/0", "3/2", "1/0", "--points", "50"]
    assert main([*arguments, "--interval", "-2", "4", "--output", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    (table,) = (tmp_path / "new").glob("*.csv")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["M"], row["N"]) for row in rows] == [("1", "0"), ("3", "2")]
    for row in rows:
        a, b = (tuple(map(float, row[key].split())) for key in ("a", "b"))
        assert f"{row['M']}/{row['N']}: init=({a}, {b})" in printed
        assert f"{float(row['max_inside']):.2e}" in printed
    assert (rows[0]["function"], rows[0]["low"], rows[0]["points"]) == (
        "sigmoid(x) - 0.5",
        "-2.0",
        "50",
    )
    picture = table.with_suffix(".png")
    assert picture.name == "sigmoid_x_0_5.png" and picture.read_bytes()[:4] == b"\x89PNG"


def test_orders():
    assert parse_orders("0/0") == (0, 0) and parse_orders("12/3") == (12, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gelu", "--orders", "5"], "--orders 5: .*type for example --orders 5/4"),
        (["gelu", "--orders", "13/2"], "each from 0 to 12"),
        (["gelu", "--orders", "5/4/3"], "each from 0 to 12"),
        (["gelu", "--interval", "3", "3"], "two increasing numbers"),
        (["gelu", "--interval", "nan", "3"], "two increasing numbers"),
        (["gelu", "--interval", "0", "inf"], "two increasing numbers"),
        (["gelu", "--points", "9"], "--points 9 must be a number from 10"),
        (["log"], "log is nan at x = -3; choose an --interval where it is finite"),
        (["sqrt(x)", "--interval", "-1", "1"], r"sqrt\(x\) is nan at x = -1"),
        (
            ["gelu", "--orders", "1/0", "--points", "20", "--output", "/dev/null/x"],
            "--output /dev/",
        ),
    ],
)
def test_mistakes_are_told(arguments, words):
    with pytest.raises(UserError, match=words):
        main(arguments)


def test_a_mistake_is_a_sentence_and_an_exit_code():
    (done,) = forks.run("-m", "experiments.studies.fit_rational", "gelo")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: 'gelo' is neither a known name nor an expression of x; did you mean 'gelu'?\n"
    )
