"""Trials are recorded before they start and told once; a search that is taken up goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from experiments.config.parse import to_dict
from experiments.errors import ConfigError
from experiments.files import append_line, write_json
from experiments.tasks.rows import Figure
from experiments.tuning.checks import Composer
from experiments.tuning.config import TuneConfig
from experiments.tuning.directory import SearchDirectory, find_search
from experiments.tuning.journal import Journal
from experiments.tuning.pictures import draw_pictures, study_of
from experiments.tuning.request import Goals
from experiments.tuning.results import command_of, front, write_table
from experiments.tuning.samplers import StudySampler, make_sampler
from experiments.tuning.space import read_space

SPACE = read_space({"optimizer.lr": "loguniform(1e-4, 1)", "model.degree": "choice(2, 3, 4)"})
LOSS, PARAMETERS = Figure("loss", maximise=False), Figure("parameters", maximise=False)
ONE = Goals((LOSS,), LOSS)
TWO = Goals((LOSS, PARAMETERS), LOSS)


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer("cifar", ["data=digits", "trainer.epochs=3"])


def open_journal(
    search: SearchDirectory, composer: Composer, goals: Goals = ONE, **settings
) -> Journal:
    tune = TuneConfig(**{"trials": 6, "search": "tpe", **settings})
    sampler = make_sampler(SPACE, search.optuna, goals.objectives, tune)
    return Journal(search, sampler, goals, composer, [], tune.trials)


def train(journal: Journal, number: int, losses: list[float], **changed) -> None:
    """Write what the run of a trial would, its values taken from the record or changed."""
    record, folder = journal.records[number], journal.search.run_folder(number)
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    config = to_dict(journal.composer.compose({**record.values, **changed}))
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    parameters = 1000 * int(record.values["model.degree"])
    write_json(run / "manifest.json", {"number": 1, "status": "finished", "macs": 5,
                                       "parameters": parameters, "wall_seconds": 2.0})  # fmt: skip
    (run / "metrics.jsonl").unlink(missing_ok=True)
    for epoch, loss in enumerate(losses, 1):
        row = {"split": "validation", "epoch": epoch, "step": epoch, "loss": loss}
        append_line(run / "metrics.jsonl", json.dumps(row))


def finish(journal: Journal, number: int, losses: list[float], ended: str = "finished") -> None:
    train(journal, number, losses)
    journal.finish(number, {"ended": ended})


def test_a_suggestion_is_recorded_before_it_starts(
    search: SearchDirectory, composer: Composer
) -> None:
    journal = open_journal(search, composer)
    order = journal.next()
    assert order is not None and order.number == 0
    record = search.read_record(0)
    assert record.status == "running" and record.overrides == order.overrides
    assert order.overrides[:2] == [f"{k}={v}" for k, v in record.values.items()]
    assert {"data=digits", "trainer.test=false", "name=trial-000"} <= set(order.overrides)


def test_a_search_that_was_killed_goes_on(search: SearchDirectory, composer: Composer) -> None:
    journal = open_journal(search, composer)
    for _ in range(4):
        journal.next()
    finish(journal, 0, [1.0, 0.5, 0.7])
    finish(journal, 1, [2.0], ended="")  # the scheduler's doing
    train(journal, 2, [1.5])
    before = {n: r.values for n, r in journal.records.items()}
    journal.sampler.study.ask()  # a suggestion that no record was written of
    (search.path / "optuna.log.lock").write_text("")

    again = open_journal(search, composer)
    orders = [again.next() for _ in range(6)]
    assert again.next() is None and [o.number for o in orders if o] == [0, 1, 2, 3, 4, 5]
    assert {n: r.values for n, r in again.records.items() if n < 4} == before
    assert [(o.until, o.status) for o in orders[:4] if o] == [
        (3, "finished"), (1, "stopped"), (None, ""), (None, "")]  # fmt: skip
    assert len({tuple(r.values.items()) for r in again.records.values()}) == 6
    states = [trial.state.name for trial in again.sampler.study.trials]
    assert states.count("COMPLETE") == 2 and states.count("FAIL") == 1
    assert states.count("RUNNING") == 4
    assert again.finish(0, {"ended": "failed"}).status == "finished"  # it had ended


def test_what_is_told_before_the_kill_is_not_forgotten(
    search: SearchDirectory, composer: Composer
) -> None:
    """The record says how a trial ended, and the kill came before the sampler heard of it."""
    journal = open_journal(search, composer)
    journal.next()
    journal.sampler.tell = lambda *a: None  # type: ignore[method-assign]
    finish(journal, 0, [1.0, 0.5])
    again = open_journal(search, composer)
    assert [t.values for t in again.sampler.study.trials] == [[0.5]]
    open_journal(search, composer)
    assert len(again.sampler.study.trials) == 1


def test_suggestions_do_not_depend_on_the_process(tmp_path: Path) -> None:
    def suggest(numbers: list[list[int]], folder: Path) -> list[dict]:
        folder.mkdir()
        found = []
        for together in numbers:
            sampler = StudySampler(SPACE, folder / "log", [LOSS], TuneConfig(search="tpe"))
            for number in together:
                suggestion = sampler.suggest(number)
                assert suggestion is not None
                found.append(suggestion.values)
                lr = float(suggestion.values["optimizer.lr"])
                sampler.tell(suggestion.known_as, [lr])
        return found

    whole = suggest([[0, 1, 2, 3, 4, 5, 6]], tmp_path / "a")
    assert suggest([[0, 1], [2], [3, 4, 5, 6]], tmp_path / "b") == whole
    assert len({tuple(v.items()) for v in whole}) == 7


def test_the_best_epoch_counts(search: SearchDirectory, composer: Composer) -> None:
    journal = open_journal(search, composer, TWO)
    journal.next()
    finish(journal, 0, [1.0, 0.5, 0.5, 0.9])
    record = journal.records[0]
    assert (record.best_epoch, record.epochs, record.figures["loss"]) == (2, 4, 0.5)
    assert record.figures["parameters"] == 1000 * int(record.values["model.degree"])


def test_values_that_did_not_arrive_are_a_failure(
    search: SearchDirectory, composer: Composer
) -> None:
    journal = open_journal(search, composer)
    journal.next()
    train(journal, 0, [0.1], **{"optimizer.lr": "0.5"})
    record = journal.finish(0, {"ended": "finished"})
    assert record.status == "failed" and "optimizer.lr" in record.message
    journal.next()
    train(journal, 1, [0.1])
    (search.path / "runs/trial-001/run/config.yaml").write_text("data: digits\n")
    record = journal.finish(1, {"ended": "finished"})
    assert record.status == "failed" and "config.yaml: data is 'digits'" in record.message
    assert [t.state.name for t in journal.sampler.study.trials] == ["FAIL", "FAIL"]


def test_failures_are_kept_and_never_the_best(search: SearchDirectory, composer: Composer) -> None:
    journal = open_journal(search, composer)
    for number, (losses, ended) in enumerate([
        ([0.9], "finished"), ([0.1], "failed"), ([0.2], ""), ([], "timeout"), ([0.8], "finished"),
    ]):  # fmt: skip
        journal.next()
        finish(journal, number, losses, ended)
    journal.next()
    journal.finish(5, {}, lost="its machine went away")
    assert [r.number for r in journal.best_first()] == [4, 0, 2]
    rows = list(csv.DictReader(write_table(journal, SPACE.keys).open()))
    assert [row["status"] for row in rows] == [
        "finished", "failed", "stopped", "timeout", "finished", "failed"]  # fmt: skip
    assert rows[5]["message"] == "its machine went away"
    assert float(rows[4]["loss"]) == 0.8
    assert rows[2]["optimizer.lr"] == journal.records[2].values["optimizer.lr"]


def test_the_front_and_the_pictures(search: SearchDirectory, composer: Composer) -> None:
    journal = open_journal(search, composer, TWO, trials=5)
    for number in range(5):
        journal.next()
        finish(journal, number, [1.0 / (number + 1)])
    records = journal.best_first()
    found = front(records, TWO)
    for one in found:
        assert not any(
            o.figures["loss"] < one.figures["loss"]
            and o.figures["parameters"] <= one.figures["parameters"] for o in records
        )  # fmt: skip
    assert records[0] in found
    said: list[str] = []
    names = {path.stem for path in draw_pictures(journal, SPACE, said.append)}
    kinds = {"history", "parallel", "importance"}
    assert names == {f"{k}_{n}" for k in kinds for n in ("loss", "parameters")} | {"pareto"}, said
    assert len(study_of(journal, SPACE).trials) == 5
    command = command_of("cifar.py", {"model.layer_sizes": "[8, 8]"}, ["seed=1"])
    assert command == "python cifar.py 'model.layer_sizes=[8, 8]' seed=1"
    two = command_of("cifar.py", {"optimizer.lr": "1e-3"}, ["seed=1"], processes=2)
    assert two.startswith(
        "python -m torch.distributed.run --standalone --nproc_per_node 2 cifar.py"
    )


def test_only_the_same_search_is_taken_up(tmp_path: Path, search: SearchDirectory) -> None:
    asked = {"space": {"a": "choice(1, 2)"}, "common": ["x=1"]}
    search.write(**asked)
    assert find_search("auto", str(tmp_path), "fake", asked).path == search.path
    assert find_search("auto", str(tmp_path), "fake", {**asked, "common": []}) is None
    other = {**asked, "space": {"a": "choice(1, 3)", "b": "choice(1)"}}
    with pytest.raises(ConfigError, match=r"(?s)space.a: 'choice\(1, 2\)' -> .*space.b: None"):
        find_search(str(search.path), str(tmp_path), "fake", other)
    with pytest.raises(ConfigError, match="is no search"):
        find_search(str(tmp_path), str(tmp_path), "fake", asked)
    search.write(format="search 0")
    with pytest.raises(ConfigError, match="has format 'search 0'"):
        find_search(str(search.path), str(tmp_path), "fake", asked)
    search.write(format="search 1", status="finished")
    assert find_search("auto", str(tmp_path), "fake", asked) is None
