"""docs/errors.md: what is typed there ends with the message beside it, and every other message is
one of the code; what is to be typed instead composes."""

from __future__ import annotations

import ast
import functools
import re
import shlex

import pytest
from omegaconf import DictConfig

from experiments.config.command_line import read_command_line
from experiments.config.compose import compose_config, has_key, to_config, with_values
from experiments.errors import ConfigError
from tests.documentation import PAGES, ROOT

ANY = "…"
SCRIPTS = ("cifar", "segmentation")


def rows() -> list[list[str]]:
    """The cells of all rows of all tables, without headers."""
    lines = [line for line in PAGES["errors.md"].read_text().splitlines() if line[:1] == "|"]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def words_of(cell: str) -> list[str]:
    """The commands and messages that stand in a cell, between backticks."""
    return re.findall(r"`([^`]+)`", cell)


TYPED = [row for row in rows() if row[0].startswith("`cifar.py ")]
TOLD = [row for row in rows() if row not in TYPED]


@pytest.mark.parametrize("typed, message, instead", TYPED, ids=[row[0] for row in TYPED])
def test_what_is_typed_is_told_so(typed: str, message: str, instead: str) -> None:
    _, *words = shlex.split(words_of(typed)[0])
    with pytest.raises(ConfigError) as refused:
        read_command_line("cifar", words)
    assert re.match(pattern(message.strip("`")), str(refused.value), re.S), str(refused.value)
    read_command_line("cifar", shlex.split(words_of(instead)[0]))


def pattern(message: str) -> str:
    return ".*".join(re.escape(part.strip(" ")) for part in message.split(ANY))


@functools.cache
def messages() -> str:
    """All texts of the code, a line each, with … for what is put into them."""
    folders = (ROOT / name for name in ("experiments", "models", "conv_kan"))
    files = [path for folder in folders for path in folder.rglob("*.py")]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in files)
    texts = (as_text(node) for tree in trees for node in ast.walk(tree))
    return "\n".join(" ".join(text.split()) for text in texts if text)


def as_text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(as_text(part) or ANY for part in node.values)
    return ""


@pytest.mark.parametrize("message, cause, instead", TOLD, ids=[row[0] for row in TOLD])
def test_every_message_is_one_of_the_code(message: str, cause: str, instead: str) -> None:
    (told,) = words_of(message)
    assert re.search(pattern(told), messages()), "no text of the code"
    assert cause
    for words in words_of(instead):
        if re.match(r"'?[a-z]+(\.[a-z_]+)?=", words):
            assert any(composes(script, words) for script in SCRIPTS), words


@functools.cache
def composes(script: str, text: str) -> bool:
    words = shlex.split(text)
    node = composed(script)
    keys = [word.partition("=")[0] for word in words]
    try:
        if all("." in key and has_key(node, key) for key in keys):  # no group: many times faster
            to_config(with_values(node, words))
        else:
            read_command_line(script, words)
    except ConfigError:
        return False
    return True


@functools.cache
def composed(script: str) -> DictConfig:
    return compose_config(script)


def test_a_message_that_nobody_writes_is_noticed() -> None:
    assert not re.search(pattern("… was eaten by a process of …"), messages())
    assert len(TYPED) > 10 and len(TOLD) > 30
