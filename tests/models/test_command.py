"""`python -m models`: names, layers, sizes, a forecast, and mistakes in words."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import models.__main__
from models import list_models
from models.__main__ import account_for, as_json, main
from models.command import read_options

ROOT = Path(__file__).parents[2]
TINY = ["layer_sizes=[4,4,4,4]", "side=8", "num_classes=5", "batch_size=4"]


def test_names_are_listed_and_searched(capsys):
    main([])
    assert capsys.readouterr().out.split() == list_models()
    main(["*kagn*", "--json"])
    assert json.loads(capsys.readouterr().out) == list_models("*kagn*")


@pytest.fixture(scope="module")
def account():
    return account_for("simple_conv_kagn", [*TINY, "degree=2"])


def test_tables_have_the_layers_and_the_forecast(account, monkeypatch, capsys):
    monkeypatch.setattr(models.__main__, "account_for", lambda name, options: account)
    main(["simple_conv_kagn", *TINY])
    out = capsys.readouterr().out
    for text in ("features.0", "KANConv Gram", "4x8x8", f"{account.parameters:,}",
                 f"{account.macs:,}", "kept for backward"):  # fmt: skip
        assert text in out, text


def test_json_has_all_of_it(account):
    found = json.loads(as_json(account))
    assert sum(layer["parameters"] for layer in found["layers"]) == found["parameters"]
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]
    memory = found["memory"]
    assert memory.pop("total") == memory.pop("growth") + memory["weights"] + memory["batch"]
    assert found["options"]["degree"] == 2 and found["options"]["batch_size"] == 4


@pytest.mark.parametrize("ndim, shape", [(1, [4, 8]), (3, [4, 8, 8, 8])])
def test_signals_and_volumes(ndim, shape):
    account = account_for("simple_conv", [*TINY, f"ndim={ndim}"])
    assert list(account.layers[0].output_shape) == shape


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["vggkagm"], "vggkagn"),
        (["*kagm_*"], "no model is named like"),
        (["vggkagn", "degre=3"], "degree"),
        (["vggkagn", "batchsize=3"], "did you mean 'batch_size'?"),
        (["vggkagn", "degree=x"], "must be an integer"),
        (["vggkagn", "batch_size=0"], "must be 1 or more"),
        (["vggkagn", "optimizer=adam"], "adamw"),
        (["vggkagn", "degree"], "write KEY=VALUE"),
        (["vggkagn", "degree=["], "write the value as in a config"),
        (["simple_conv", "grid_size=3"], "grid_size is an option of"),
        (["vggkagn", "side=1"], "too small"),
        (["simple_conv_kagn", *TINY, "backend=cupy"], "backend='cupy' cannot run"),
    ],
)
def test_mistakes_are_told_in_words(arguments, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        main(arguments)


def test_a_mistake_ends_with_code_2_and_no_traceback():
    command = [sys.executable, "-m", "models", "vggkagm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: unknown model 'vggkagm'; the nearest are vggkagn")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_it_quietly():
    command = f"{sys.executable} -m models | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == list_models()[:1] and done.stderr == ""


def test_options_of_a_step_have_defaults():
    values, rest = read_options("vggkagn", ["side=64", "degree=4"])
    assert values["side"] == 64 and values["batch_size"] == 128 and rest == {"degree": 4}
