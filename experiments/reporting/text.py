"""Text of all kinds in pictures: names as they are, in a font that has their characters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

SURROGATE = re.compile("[\ud800-\udfff]")  # how Python holds bytes of a name that are no UTF-8

BOXES = "Last Resort"  # a font that has a box for every character


def plain(name: str) -> str:
    """The name with a replacement character for every byte that is no text."""
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", name)


def as_it_is(names: Iterable[str]) -> dict[str, Any]:
    """Properties of text that shows names: no mathematics in a $, and fonts with all characters.

    Where no installed font has a character, a box stands for it.
    """
    return {"parse_math": False, "usetex": False, "family": families(names)}


def families(names: Iterable[str]) -> list[str]:
    """The usual font, and after it those that are needed for characters it lacks."""
    usual = list(rcParams["font.family"])
    missing = {ord(c) for name in names for c in name if c.isprintable()}
    missing -= _present(missing, findfont(FontProperties(family=usual)))
    chosen = list(usual)
    for entry in fontManager.ttflist:
        if not missing:
            break
        if entry.name in chosen or entry.style != "normal" or entry.name.startswith(BOXES):
            continue
        found = _present(missing, entry.fname)
        chosen += [entry.name] if found else []
        missing -= found
    return chosen


def _present(characters: set[int], file: str) -> set[int]:
    """Those of the characters that a font file has."""
    try:
        font = get_font(file)
    except (OSError, RuntimeError):  # it was removed, or is damaged
        return set()
    return {character for character in characters if font.get_char_index(character)}


def show_as_it_is(*texts: Text) -> None:
    """Set texts that are in the picture already."""
    for text in texts:
        text.set_text(plain(text.get_text()))
        text.update(as_it_is([text.get_text()]))
