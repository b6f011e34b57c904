"""Functions that are typed: all names, expressions as Python computes them, and what is refused."""

import math

import pytest
import torch

from experiments.errors import UserError
from experiments.studies.functions import FUNCTIONS, parse_function

X = torch.linspace(0.1, 2.0, 7, dtype=torch.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_name_is_a_function_and_may_stand_in_expressions(name):
    y = parse_function(name)(X)
    assert y.shape == X.shape and y.dtype == X.dtype and y.isfinite().all()
    torch.testing.assert_close(parse_function(f"2 * {name}(x)")(X), 2.0 * y)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x*sigmoid(1.702*x)", X * torch.sigmoid(1.702 * X)),
        (" -x**2 + 3 ", 3.0 - X.square()),
        ("(x + 1)/(2 - -x)", (X + 1.0) / (2.0 + X)),
        ("2**x - e*pi", 2.0**X - math.e * math.pi),
        ("tanh(exp(-x)) / 1e3", torch.tanh(torch.exp(-X)) / 1e3),
        ("x**-0.5", X**-0.5),
        ("x + 9**9**9", X + math.inf),
    ],
)
def test_expressions(text, wanted):
    torch.testing.assert_close(parse_function(text)(X), wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gelo", "did you mean 'gelu'"),
        ("2 * 3", "neither a known name nor an expression of x; type one such as"),
        ("", "is no expression"),
        ("x +", "'x [+]' is no expression"),
        ("x; x", "is no expression"),
        ("sigmiod(x)", "no function 'sigmiod'; did you mean 'sigmoid'"),
        ("relu(x, 1)", "relu takes one argument"),
        ("gelu(x, approximate=x)", "gelu takes one argument"),
        ("x.__class__", "'x.__class__' cannot stand in an expression"),
        ("__import__('os').system(x)", "cannot stand in an expression"),
        ("(lambda: x)()", "cannot stand in an expression"),
        ("[x][0]", "cannot stand in an expression"),
        ("x + 'a'", "''a'' cannot stand|.'a'. cannot stand"),
        ("x + True", "'True' cannot stand"),
        ("x % 2", "cannot stand in an expression"),
        ("x if x else 1", "cannot stand in an expression"),
        ("y + x", "'y' cannot stand in an expression"),
        ("-" * 300 + "x" * 101, "401 characters: 400 are the most"),
        ("(" * 199 + "x", "is no expression"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        parse_function(text)


def test_deep_expressions_are_computed():
    torch.testing.assert_close(parse_function("-" * 398 + "x")(X), X)
