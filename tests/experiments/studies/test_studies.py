"""Studies: which networks they have, that twins are twins, and what they show of their rows."""

import shlex

import pytest

from experiments.config.compose import load_config
from experiments.errors import UserError
from experiments.studies import command, record
from experiments.studies.segmentation import SEGMENTATION
from experiments.studies.study import Study
from experiments.studies.tables import cells, draw, tables
from experiments.studies.transformers import TRANSFORMERS
from experiments.studies.zoo import FAMILIES, KINDS, ZOO
from models.registry import is_kan, model_options, parse_reference

ALL = list(ZOO.settings())
STUDIES = (ZOO, TRANSFORMERS, SEGMENTATION)
FIRST = [(study, s) for study in STUDIES for s in study.settings() if s.seed == 0]


def chosen(setting):
    """The model of a setting, its options as text, and what it is matched to."""
    words = dict(word.partition("=")[::2] for word in setting.overrides)
    options = {k.removeprefix("model."): v for k, v in words.items() if k.startswith("model.")}
    return words["model"], options, options.pop("match", None)


def test_six_families_of_three_kinds_on_three_datasets():
    assert len(ALL) == 6 * 3 * 3 * 4
    assert len({(setting.name, setting.seed) for setting in ALL}) == len(ALL)
    assert [setting.seed for setting in ALL] == sorted(setting.seed for setting in ALL)
    sizes = {(setting.labels["data"], setting.labels["size"]) for setting in ALL}
    assert len(sizes) == 4 and ("mnist5k", "large") in sizes


def test_four_feed_forwards_on_three_datasets():
    assert len(list(TRANSFORMERS.settings())) == 4 * 3 * 3


@pytest.mark.parametrize(("study", "setting"), FIRST, ids=lambda one: one.name)
def test_a_setting_is_one_network_and_the_common_recipe(study, setting):
    model, options, match = chosen(setting)
    assert set(options) <= set(model_options(model))
    assert is_kan(model, options) == (setting.labels["kind"] != "plain")
    recipe = (*study.recipe, *study.families[setting.labels["family"]].recipe)
    assert setting.overrides[-len(recipe) :] == recipe
    labels = {**setting.labels, "kind": next(iter(study.kinds))}
    first = next(s for s in study.settings() if s.labels == labels)
    name, own, none = chosen(first)
    assert none is None
    if setting.labels != labels:
        words = [f"{key}={value}" for key, value in own.items()]
        assert match == f'"{" ".join((name, *words))}"'
        assert parse_reference(match.strip('"'))[0] == name


def test_a_setting_composes(tmp_path):
    """One of every kind of transformer; the zoo's rows are in its table."""
    for setting in TRANSFORMERS.settings(["digits"]):
        config = load_config("cifar", [*setting.command[1:]])
        assert config.trainer.threads == 1 and config.seed == setting.seed


def test_u_networks_have_the_recipe_of_the_quickstart():
    """Whose network is one of them; batches of its threads aside."""
    preset = load_config("segmentation", ["experiment=segmentation_quickstart"])
    kinds = set()
    for setting in SEGMENTATION.settings():
        script, *words = setting.command
        config = load_config(script.removesuffix(".py"), words)
        kinds.add(setting.name)
        for group in ("data", "augment", "optimizer", "scheduler", "loss"):
            assert getattr(config, group) == getattr(preset, group), group
        for key in ("epochs", "batch_size", "ema_decay", "max_grad_norm"):
            assert getattr(config.trainer, key) == getattr(preset.trainer, key), key
        if setting.name == "canvas/small/UKAGNet/kan":
            assert config.model == preset.model
    assert len(kinds) == 4 * 2 and SEGMENTATION.figure.name == "iou"


def test_rows_are_chosen_by_a_part_of_their_name():
    assert {s.labels["family"] for s in command.choose(ZOO, (), "VGGKAN")} == {"VGGKAN"}
    assert len(command.choose(ZOO, ["mnist5k"], "small/*/kan")) == 6 * 3
    with pytest.raises(UserError, match="fits no row"):
        command.choose(ZOO, ["digits"], "mnist5k")


def test_data_that_are_absent_are_skipped_with_what_to_do(monkeypatch, capsys, tmp_path):
    absent = "it is absent; install it"
    monkeypatch.setattr(
        Study, "absent", lambda study, name: absent if name == "fashion_mnist" else ""
    )
    started = []
    monkeypatch.setattr(command.Queue, "work", lambda self, todo: started.extend(todo) or 0)
    assert command.main(ZOO, ["--only", "RDNet/kan", "--table", str(tmp_path / "z.csv")]) == 0
    assert f"fashion_mnist is skipped: {absent}" in capsys.readouterr().out
    assert {s.labels["data"] for s in started} == {"digits", "mnist5k"}


# ---------------------------------------------------------------------------------- what it shows
@pytest.fixture
def table(tmp_path):
    """Rows of two families on MNIST-5k; one of them has failed."""
    path = tmp_path / "zoo.csv"
    for setting in ALL:
        data, size, family, kind = setting.labels.values()
        if data == "mnist5k" and family in ("ResKANet", "RKAN") and setting.seed < 2:
            score = 0.9 + 0.01 * setting.seed + 0.02 * list(KINDS).index(kind)
            row = record.row_of(setting, None)
            if (size, family, kind) != ("large", "RKAN", "svkan"):
                row |= {"status": "finished", "test": score, "parameters": 40_000}
                row["seconds"] = 100.0 if family == "RKAN" else None  # those are not known
            record.append(path, row)
    return path


def test_cells_hold_what_has_finished(table):
    found = cells(record.read(table))
    assert ("mnist5k", "large", "RKAN", "svkan") not in found and len(found) == 11
    cell = found["mnist5k", "small", "ResKANet", "plain"]
    assert cell.mean == pytest.approx(0.925) and str(cell) == "92.50 ± 0.71"


def test_tables_have_a_row_for_each_size(table):
    lines = tables(ZOO, record.read(table)).splitlines()
    assert lines[0] == "| MNIST-5k | params | seeds | KAN | plain twin | SV-KAN twin |"
    assert lines[2] == (
        "| ResKANet, small | 40k | 2 | 90.50 ± 0.71 | 92.50 ± 0.71 | 94.50 ± 0.71 |"
    )
    assert lines[5] == "| RKAN, large | 40k | 2 | 90.50 ± 0.71 | 92.50 ± 0.71 | - |"
    assert lines[6:] == ["", "22 runs of together 0.6 hours"]


def test_the_picture_is_drawn_from_the_table_alone(table, figures, tmp_path):
    assert (
        command.main(ZOO, ["--draw", "--table", str(table), "--picture", str(tmp_path / "z.png")])
        == 0
    )
    (figure,) = figures
    (axes,) = figure.axes
    assert axes.get_title() == "MNIST-5k" and axes.get_xscale() == "log"
    bars = [bar for bar in axes.containers if len(bar[0].get_xdata())]
    assert len(bars) == 6 and {len(bar[0].get_xdata()) for bar in bars} == {1, 2}
    assert bars[0][0].get_ydata() == pytest.approx([90.5, 90.5])
    assert [t.get_text() for t in figure.legends[0].get_texts()][: len(FAMILIES)] == list(FAMILIES)
    assert (tmp_path / "z.png").stat().st_size > 5000


def test_kinds_of_one_size_stand_beside_each_other(figures, tmp_path):
    rows = [
        {"data": "digits", "size": "small", "family": "ViT",
         "kind": kind, "status": record.FINISHED, "parameters": 40_000, "test": 0.9 + 0.01 * i}
        for i, kind in enumerate(TRANSFORMERS.kinds)
    ]  # fmt: skip
    draw(TRANSFORMERS, rows, tmp_path / "t.png")
    (figure,) = figures
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == list(TRANSFORMERS.kinds.values())
    places = [float(bar[0].get_xdata()[0]) for bar in axes.containers]
    assert places == [0, 1, 2, 3] and not figure.legends


def test_overrides_in_the_table_are_those_of_the_setting(table):
    for row in record.read(table):
        overrides = tuple(shlex.split(row["overrides"]))
        assert any(overrides == setting.overrides for setting in ALL)


def test_nothing_is_drawn_of_no_rows(tmp_path, capsys):
    assert command.main(ZOO, ["--draw", "--table", str(tmp_path / "absent.csv")]) == 0
    assert capsys.readouterr().out == ""
