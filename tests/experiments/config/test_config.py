"""Every config composes; what cannot work is refused in words that lead to what can."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from experiments.config import compose
from experiments.config.compose import check_overrides, load_config, store_rows
from experiments.config.groups import CONFIG_DIR, list_groups
from experiments.config.losses import LOSSES, REGRESSION_LOSSES
from experiments.config.map_losses import MAP_LOSSES
from experiments.config.optim import OPTIMIZERS, SCHEDULERS
from experiments.config.parse import parse_model, to_dict
from experiments.errors import ConfigError
from models import list_models

ENTRIES = [p.stem for p in CONFIG_DIR.glob("*.yaml") if p.stem != "base"]
GROUP_FILES = [
    p
    for p in sorted(CONFIG_DIR.glob("*/*.yaml"))
    if not p.stem.startswith("_") and p.parent.name in list_groups()
]
# What composes with a network that answers maps alone.
OF_MASKS = [
    *(f"loss={name}" for name in MAP_LOSSES if name not in LOSSES),
    "experiment=segmentation_quickstart",
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_composes(entry: str) -> None:
    config = load_config(entry)
    assert config.model["name"] in list_models()
    assert config.name == f"{config.model['name']}-{config.data.name}"


@pytest.mark.parametrize("file", GROUP_FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_group_file_composes(file: Path) -> None:
    group = file.parent.name
    choice = f"{group}={file.stem}"
    is_theirs = choice in ("task=segmentation", *OF_MASKS) or (
        group == "experiment" and "launch segmentation.py" in file.read_text(encoding="utf-8")
    )
    task = ["task=regression"] if group == "loss" and file.stem in REGRESSION_LOSSES else []
    config = to_dict(load_config("segmentation" if is_theirs else "cifar", [*task, choice]))
    section = config.get(file.parent.name)
    if isinstance(section, dict) and file.parent.name in ("data", "optimizer", "scheduler", "loss"):
        assert section["name"] == file.stem


@pytest.mark.parametrize("name", ["simple_conv", "moe_vggkagn_bn", "reskagnet50", "rkan", "timm"])
def test_a_registered_model_is_a_config(name: str) -> None:
    assert load_config("cifar", [f"model={name}"]).model["name"] == name


def test_the_options_of_every_registered_model_are_what_its_checks_take() -> None:
    store_rows()
    for name in list_models():
        node = ConfigStore.instance().load(f"model/{name}.yaml").node
        values = OmegaConf.to_container(node)
        assert parse_model(values) == values and values["name"] == name


def test_a_composition_makes_the_chosen_model_alone(monkeypatch) -> None:
    """Of hundreds that Hydra would copy each time."""
    made = []
    options = compose.model_options
    monkeypatch.setattr(compose, "model_options", lambda name: made.append(name) or options(name))
    load_config("cifar", ["model=vggkagn"])
    assert made == ["vggkagn"]


@pytest.mark.parametrize(
    "group, table",
    [
        ("optimizer", OPTIMIZERS),
        ("scheduler", SCHEDULERS),
        ("loss", LOSSES),
        ("loss", MAP_LOSSES),
    ],
)
def test_yaml_lists_every_field(group: str, table: dict[str, type]) -> None:
    """A field that YAML leaves out could not be set on the command line."""
    for name, cls in table.items():
        text = (CONFIG_DIR / group / f"{name}.yaml").read_text()
        if group == "loss":  # what they share
            task = "segmentation" if table is MAP_LOSSES else "classification"
            text += (CONFIG_DIR / "task" / f"{task}.yaml").read_text()
        assert all(f"{f.name}:" in text for f in fields(cls)), name


def test_command_of_the_readme_composes_as_typed() -> None:
    config = load_config(
        "cifar", ["model=vggkagn", "model.degree=4", "optimizer.lr=1e-3", "trainer.epochs=5"]
    )
    assert (config.model["degree"], config.optimizer.lr, config.trainer.epochs) == (4, 1e-3, 5)


@pytest.mark.parametrize("override, words", [
    ("optimizer.lrr=1", ["optimizer.lrr", "did you mean 'optimizer.lr'"]),
    ("optimizr.lr=1", ["did you mean 'optimizer.lr'"]),
    ("trainer.epochs=abc", ["trainer.epochs='abc': must be an integer, not text"]),
    ("trainer.epochs=1.5", ["trainer.epochs=1.5", "not a decimal number"]),
    ("trainer.epochs='5'", ["must be an integer, not text; type trainer.epochs=5"]),
    ("trainer.epochs={a:1}", ["must be an integer, not a group of keys"]),
    ("seed=1e3", ["type seed=1000"]),
    ("trainer.compile=yes", ["must be true or false, not text; type trainer.compile=true"]),
    ("trainer.cpu=0", ["type trainer.cpu=false"]),
    ("name=5", ["type \"name='5'\", with both pairs"]),
    ("trainer.epochs=-1", ["trainer.epochs=-1", "1 or more"]),
    ("trainer.epochs=", ["trainer.epochs", "must be an integer, not nothing"]),
    ("trainer.accumulation=3", ["must divide trainer.batch_size=128"]),
    ("trainer.precision=fp32", ["no (32 bits)"]),
    ("optimizer.lr=true", ["optimizer.lr=True: must be a number, not true or false"]),
    ("scheduler.warmup=2.5", ["scheduler.warmup=2.5", "a whole number of steps"]),
    ("scheduler.warmup=half", ["scheduler.warmup='half'"]),
    ("optimizer.momentum=0.9", ["option of sgd", "not of adamw"]),
    ("optimizer.betas=[0.9]", ["optimizer.betas=[0.9]: must be two numbers, for example [0.9,"]),
    ("optimizer.betas=[0.9,x]", ["must be a list of numbers, but element 2 is 'x'"]),
    ("optimizer.betas=0.9", ["must be a list of numbers, not a decimal number"]),
    ("data.mean=[]", ["data.mean=[]: must be one number"]),
    ("model=vggkagnn", ["did you mean 'vggkagn'"]),
    ("model.degree=0", ["degree=0", "1 or more"]),
    ("model.degree=two", ["degree='two'", "integer"]),
    ("model.layer_sizes=[[4],4,8,8]", ["a list of 4 integers, but element 1 is [4]"]),
    ("model.grid_size=3", ["grid_size is an option of", "simple_conv_kagn (gram) has degree"]),
    ("model=ukagnet", ["model=ukagnet, task=classification", "is for segmentation"]),
    ("data=imagnet", ["did you mean 'imagenet'"]),
    ("optimizer=sgdd", ["did you mean 'sgd'", "adamw"]),
    ("augment.mixup=-1", ["augment.mixup=-1.0", "0 (off) or more"]),
    ("seed=-1", ["seed=-1", "0 or more"]),
    ("seed=9223372036854775808", ["less than 2^63"]),
    ("data.split_seed=9223372036854775808", ["data.split_seed", "2^63"]),
    ("name=null", ["name needs a value, for example name=run"]),
    ("name=${nope}", ["name", "'nope' not found", "${model.name}"]),
    ("foo", ["foo"]),
    ("+foo=1", ["foo is not a known key"]),
])  # fmt: skip
def test_what_cannot_work_is_refused_by_name(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_overrides("cifar", [override])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("override, words", [
    ("loss.class_weights=[-1,1]", "loss.class_weights=[-1.0, 1.0]: must be balanced (by the"),
    ("loss.class_weights=equal", "loss.class_weights='equal': must be balanced (by the training"),
    ("loss.class_weights=balanced data.balance=true", "both count rare ones twice; type one"),
    ("data.balance=true data.repeats=2", "copies are of rare classes, or of all images"),
    ("tracker=wandb tracker.project=a/b", "tracker.project='a/b'"),
])  # fmt: skip
def test_rules_of_a_choice_are_its_own(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_overrides("cifar", override.split())
    assert words in str(caught.value)


def test_a_warm_up_is_steps_or_a_share() -> None:
    for text, value in (("7", 7), ("0.05", 0.05), ("5e-2", 0.05)):
        warmup = load_config("cifar", [f"scheduler.warmup={text}"]).scheduler.warmup
        assert warmup == value and type(warmup) is type(value)


def test_every_value_of_a_sweep_is_checked() -> None:
    check_overrides("cifar", ["seed=0,1", "optimizer=sgd,adamw"])
    with pytest.raises(ConfigError, match=r"optimizer\.lr=-1"):
        check_overrides("cifar", ["seed=0,1,2", "optimizer.lr=0.1,-1"])


def test_a_line_search_refuses_a_loss_scaler() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.precision=bf16"):
        load_config("cifar", ["optimizer=lbfgs", "trainer.precision=fp16"])
