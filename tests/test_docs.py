"""What the pages say can be typed: code runs, commands compose, links and pictures are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conv_kan.bases import BASES
from experiments.config.groups import group_options
from tests import documentation, forks
from tests.documentation import PAGES, ROOT, Block, as_python, blocks, check_command

# Pages whose commands run in `make slow`, in an empty folder, each training for three steps; RUN is
# what the last of them has left. Elsewhere, and in `make test`, a command is composed, or its words
# are read, and it is not run.
LIVE = ("after.md", "data.md", "own_model.md", "segmentation.md")
SHORT = ["trainer.epochs=1", "trainer.limit_steps=3", "trainer.progress=false"]
# Commands of these pages that are composed alone, by words in them, and why.
COMPOSED = {
    "--tta": "as the line above it",
    "PATH": "the images are the reader's",
    "'photos/*.png'": "as the line above it",
    "experiments.studies": "trains for an hour, or draws into docs/",
    "scan.nii.gz": "of a network of volumes; tests/experiments/usage/test_volumes.py does it",
    "--format onnx": "takes long; tests/experiments/usage/test_export.py does it",
    "--format torch_export": "as onnx",
    "--format safetensors": "less than hub",
    "report runs --format csv": "as the line above it",
    "data=pets": "downloads",
    "model=timm": "a network of minutes",
    "model=torchvision": "a network of minutes",
    "experiment=": "minutes",
    "pip install": "downloads",
}
# Outputs and layouts that no block of the page prints, by their first words, and why.
SHOWN = {
    "epoch  18/20": "make quickstart prints it; figures depend on the machine",
    "PATH/": "a layout of folders",
}


def test_every_exception_is_of_a_page() -> None:
    texts = "\n".join(block.text for page in LIVE for block in blocks(page))
    assert [words for words in COMPOSED if words not in texts] == []
    shown = [block.text.lstrip() for page in PAGES for block in blocks(page)]
    assert [words for words in SHOWN if not any(t.startswith(words) for t in shown)] == []


def code(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in ("python", "bash")]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    text = documentation.FENCE.sub("", PAGES[page].read_text(encoding="utf-8"))
    assert "```" not in text, "a fence is open, or has other words than a language and a title"
    assert not re.search(r"^\n {4}\S", text, re.M), "code without a fence has no language"
    for before, block in zip([None, *blocks(page)], blocks(page), strict=False):
        assert block.language in ("python", "bash", "text")
        if block.language == "text" and not (before and before.language == "python"):
            assert block.text.lstrip().startswith(tuple(SHOWN)), "neither printed nor listed"


@pytest.mark.parametrize("page", PAGES)
def test_commands_compose(page: str, tmp_path: Path) -> None:
    scripts = [block for block in blocks(page) if block.title]
    for script in scripts:
        (tmp_path / script.title).write_text(script.text)
    for block in blocks(page):
        for words in block.commands() if block.language == "bash" else ():
            if any(script.title == word for script in scripts for word in words[:3]):
                run_command([*words, "--help"], tmp_path)  # with the models that it registers
            else:
                check_command(tuple(words))


@pytest.mark.parametrize("page", [page for page in PAGES if code(page) and page not in LIVE])
def test_code_runs(page: str, tmp_path: Path) -> None:
    work_through(page, tmp_path, live=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", LIVE)
def test_code_and_commands_run(page: str, tmp_path: Path) -> None:
    work_through(page, tmp_path, live=True)


def work_through(page: str, folder: Path, live: bool) -> None:
    """Python between two commands that run is one program; a text block behind it its output."""
    program: list[tuple[str, str | None]] = []
    found = blocks(page)
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.language == "python":
            printed = after.text if after and after.language == "text" else None
            program.append((block.text, printed))
        elif block.language == "bash" and live:
            for words in commands_to_run(block):
                run_program(program, folder)
                run_command(words, folder)
                program = []
    run_program(program, folder)


def commands_to_run(block: Block) -> Iterator[list[str]]:
    for words in block.commands():
        text = " ".join(words)
        if any(part.strip("'") in text for part in COMPOSED):
            check_command(tuple(words))
        else:
            yield words


def run_program(program: list[tuple[str, str | None]], folder: Path) -> None:
    if not program:
        return
    start = f"import os, sys\nos.chdir({str(folder)!r})\nsys.path.insert(0, '')\n"
    end = "\nprint('\\x1e', end='')\n"
    (done,) = forks.run("-c", start + "".join(text + end for text, _ in program))
    assert done.returncode == 0, f"{program}\n{done.stderr}"
    for (_, expected), printed in zip(program, done.stdout.split("\x1e"), strict=False):
        assert expected is None or printed == expected


def run_command(words: list[str], folder: Path) -> None:
    arguments = as_python(words)
    assert arguments is not None, words
    if arguments[0] == "-m":
        call = f"runpy.run_module({arguments[1]!r}, run_name='__main__', alter_sys=True)"
        arguments = arguments[1:]
    else:
        here = folder / arguments[0]
        path = str(here if here.is_file() else ROOT / arguments[0])
        call = f"sys.path.insert(0, os.path.dirname({path!r}))\n"
        call += f"runpy.run_path({path!r}, run_name='__main__')"
        arguments = [path, *arguments[1:], *SHORT]
    start = f"import os, runpy, sys\nos.chdir({str(folder)!r})\nsys.argv = {arguments!r}\n"
    (done,) = forks.run("-c", start + call)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    runs = sorted(folder.glob("runs/*/*-seed*"), key=lambda run: run.stat().st_mtime)
    if runs:
        (folder / "RUN").unlink(missing_ok=True)
        (folder / "RUN").symlink_to(runs[-1])


# ------------------------------------------------------------------------------- pages and links
def test_the_site_lists_every_page() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = [page for entry in settings["nav"] for page in entry.values()]
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert settings["theme"]["font"] is False and settings["plugins"] == ["search"]
    assert "extra_javascript" not in settings and "extra_css" not in settings


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_outside_the_site_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "training.md"])
def test_tables_of_choices_are_whole(page: str) -> None:
    words = set(re.findall(r"\w+", PAGES[page].read_text()))
    groups = ("augment", "data", "debug", "loss", "optimizer", "scheduler", "task", "tracker")
    assert {choice for group in groups for choice in group_options(group)} - words == set()
    assert page != "README.md" or set(BASES) <= words


def test_the_readme_is_one_page() -> None:
    assert len(PAGES["README.md"].read_text().splitlines()) <= 150


@pytest.mark.slow
def test_the_site_builds_and_asks_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
    asked = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?:[^\" >]+)")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES) - 2
    assert [found for page in pages for found in asked.findall(page.read_text())] == []
