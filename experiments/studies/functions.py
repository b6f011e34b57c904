"""Functions of x that a person types: a name, or an expression of names, numbers and operators.

An expression is parsed and its parts are looked up here: nothing that was typed is executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from conv_kan.bases.rational_fit import TARGETS
from experiments.errors import UserError, nearest

Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    **TARGETS,
    "identity": lambda x: x,
    "swish": F.silu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    **{
        name: getattr(F, name)
        for name in (
            "silu", "mish", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "softplus",
            "softsign", "logsigmoid", "hardswish", "hardsigmoid", "hardtanh", "tanhshrink",
        )
    },
    **{
        name: getattr(torch, name)
        for name in (
            "sigmoid", "tanh", "sin", "cos", "sinh", "cosh", "atan", "asinh", "exp", "log", "sqrt",
            "erf", "erfc", "abs", "square", "sign",
        )
    },
}  # fmt: skip
_NUMBERS = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.AST], Callable[..., Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_MOST = 400  # characters: nobody types more, and parsers have their limits
_EXAMPLE = "type one such as 'x * sigmoid(1.702 * x)'"


def parse_function(text: str) -> Function:
    """The function called `text`, or that of x which the expression `text` is.

    Raises: UserError for anything else, with the part that is wrong.
    """
    if text in FUNCTIONS:
        return FUNCTIONS[text]
    if len(text) > _MOST:
        raise UserError(f"an expression of {len(text)} characters: {_MOST} are the most")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{text!r} is no expression; {_EXAMPLE}, or a name") from error
    if not any(isinstance(part, ast.Name) and part.id == "x" for part in ast.walk(tree)):
        hint = nearest(text, FUNCTIONS) or f"; {_EXAMPLE}, or one of {', '.join(sorted(FUNCTIONS))}"
        raise UserError(f"{text!r} is neither a known name nor an expression of x{hint}")
    return _compiled(tree)


def _compiled(tree: ast.AST) -> Function:
    """The function of x that a part of an expression is."""
    match tree:
        case ast.Name(id="x"):
            return lambda x: x
        case ast.Name(id=name) if name in _NUMBERS:
            return _constant(_NUMBERS[name])
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            try:
                return _constant(float(value))
            except OverflowError:
                return _constant(math.inf)
        case ast.UnaryOp(op=op, operand=part) if type(op) in _OPERATORS:
            inner, apply = _compiled(part), _OPERATORS[type(op)]
            return lambda x: apply(inner(x))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            first, second, combine = _compiled(left), _compiled(right), _OPERATORS[type(op)]
            return lambda x: combine(first(x), second(x))
        case ast.Call(func=ast.Name(id=name), args=[part], keywords=[]) if name in FUNCTIONS:
            function, argument = FUNCTIONS[name], _compiled(part)
            return lambda x: function(argument(x))
    raise UserError(_unknown(tree))


def _constant(value: float) -> Function:
    return lambda x: torch.full_like(x, value)


def _unknown(tree: ast.AST) -> str:
    """What is said of a part that no expression has."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        name = tree.func.id
        if name in FUNCTIONS:
            return f"{name} takes one argument and no options here; {_EXAMPLE}"
        known = ", ".join(sorted(FUNCTIONS))
        return f"there is no function {name!r}{nearest(name, FUNCTIONS)}; use one of {known}"
    words = "use x, numbers, pi, e, + - * / **, parentheses and functions of one argument"
    return f"{ast.unparse(tree)!r} cannot stand in an expression; {words}"
