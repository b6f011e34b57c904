"""The words of a command line as overrides, or a sentence that tells what was meant by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from experiments.config.compose import check_overrides, known_keys
from experiments.config.groups import group_options, list_groups, parse_override, settle_groups
from experiments.config.keys import meant_keys
from experiments.errors import ConfigError, near_keys, or_words

HELP, MULTIRUN = ("--help", "-h"), ("--multirun", "-m")
# With one of these Hydra answers, and no run begins.
HYDRA = (
    "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i",
    "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn", "--config-dir",
    "-cd", "--experimental-rerun", "--run", "-r",
)  # fmt: skip


def read_command_line(config_name: str, words: Sequence[str]) -> list[str]:
    """The words for Hydra: --multirun first, then overrides that compose and pass all checks.

    Raises: ConfigError for the first word that is no override, or that cannot work.
    """
    multirun = any(word in MULTIRUN for word in words)
    overrides = read_overrides(config_name, words)
    for word in () if multirun else overrides:
        _refuse_sweep(word)
    check_overrides(config_name, overrides)
    return ["--multirun"] * multirun + overrides


def read_overrides(config_name: str, words: Sequence[str]) -> list[str]:
    """The overrides among the words, without flags and without those that choose nothing.

    Raises: ConfigError for a word that Hydra cannot read, or a choice that there is not.
    """
    rest = [word for word in words if word not in (*MULTIRUN, *HELP)]
    for place, word in enumerate(rest):
        if word.startswith("-") or not re.search("^~|=", word):
            raise ConfigError(_no_override(config_name, rest, place))
        if parse_override(word) is None:
            raise ConfigError(_unreadable(word))
    return settle_groups(config_name, rest)


def _refuse_sweep(word: str) -> None:
    override = parse_override(word)
    if override is None or not override.is_sweep_override():
        return
    key, _, value = word.partition("=")
    ways = [f"for a run with each of them type --multirun {word}"]
    if re.fullmatch(r"[-+]?\d+,\d+", value):
        ways.append(f"for a decimal number {key}={value.replace(',', '.')}")
    if "(" not in value:
        ways.append(f"for a list '{key}=[{value}]'")
    raise ConfigError(f"{word} gives several values: {', '.join(ways)}")


# -------------------------------------------------------------------------------- what was meant
def _no_override(config_name: str, words: Sequence[str], place: int) -> str:
    """What to type instead of a word that is no KEY=VALUE."""
    word, before = words[place], words[place - 1] if place else ""
    if near := near_keys(word, (*HELP, *MULTIRUN), 1) if word.startswith("--") else []:
        return f"{word} is not known; did you mean {near[0]}?"
    if before.endswith("="):
        return f"{before} {word}: an override has no spaces in it; type {before}{word}"
    name, value, shown = _taken_apart(words, place)
    meant = [f"{key}={value}" for key in _meant(config_name, name)]
    if not meant or value == "VALUE":
        meant = list(_chosen(name)) or meant
    way = f"type {or_words(meant)}" if meant else "for example trainer.epochs=5"
    return f"{shown} is no override: these are KEY=VALUE, without dashes or spaces; {way}"


def _taken_apart(words: Sequence[str], place: int) -> tuple[str, str, str]:
    """(key, value, the words that say so) of `--key value`, `key = value`, `key:value`, `key`."""
    following = [word for word in words[place + 1 : place + 3] if word != "="][:1]
    bare = words[place].lstrip("-")
    name, sign, value = next((bare.partition(s) for s in "=:" if s in bare), (bare, "", ""))
    if not sign and following and not re.search("^-|=", following[0]):
        value = following[0]
        end = words.index(value, place + 1)
        return name, value, " ".join(words[place : end + 1])
    return name, value or "VALUE", words[place]


def _meant(config_name: str, name: str) -> list[str]:
    return meant_keys(name, known_keys(config_name)) if name else []


def _chosen(name: str) -> Iterator[str]:
    """GROUP=CHOICE of the choices that a word names, in any case; of those spelt alike if none."""
    choices = {f"{group}={name}": name for group in list_groups() for name in group_options(group)}
    exact = [text for text, choice in choices.items() if choice.lower() == name.lower()]
    near = near_keys(name, choices.values(), 1)
    yield from exact or [text for text, choice in choices.items() if [choice] == near]


def _unreadable(word: str) -> str:
    """What to type instead of an override that Hydra cannot read."""
    key, _, value = word.partition("=")
    if value.startswith("="):
        return f"{word}: one = is enough; type {key}={value.lstrip('=')}"
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            whole = f"{key}={opening}{value.strip(opening + closing)}{closing}"
            way = f"; type '{whole}', in quotes" if opening == "[" else ""
            return f"{word}: {opening} and {closing} are not in pairs{way}"
    quoted = f"{key}='{value}'"
    if "'" not in value and parse_override(quoted) is not None:
        return f'{word}: the value has signs that need two pairs of quotes; type "{quoted}"'
    return f"{word} cannot be read: it is to be KEY=VALUE, for example trainer.epochs=5"
