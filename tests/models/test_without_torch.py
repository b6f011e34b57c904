"""Names and options of layers and models are read without torch, which takes seconds to load."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "matplotlib")
# Prints what is loaded after each step.
SCRIPT = f"""
import json, sys

loaded = {{}}
def note(step):
    loaded[step] = [name for name in {HEAVY} if name in sys.modules]

import conv_kan
import conv_kan.bases
note("import conv_kan")
for name in conv_kan.list_bases():
    conv_kan.bases.basis_options(name), conv_kan.bases.basis_squashes(name)
for family in conv_kan.FAMILIES:
    conv_kan.get_family(family).defaults
dir(conv_kan), dir(conv_kan.bases)
note("bases and families")
import models
note("import models")
for name in models.list_models():
    models.model_options(name)
dir(models)
models.check_options("vggkagn", {{"degree": 4}})
try:
    models.check_options("vggkagn", {{"degree": "4"}})
except ValueError:
    note("models, their options and a wrong value")
models.register("mine", options=[models.Option("width", int, 4, "channels")])(None)
note("a model of one's own")
import numpy
note("numpy")
print(json.dumps(loaded))
"""


def test_nothing_heavy_is_loaded() -> None:
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    loaded = json.loads(result.stdout)
    assert loaded.pop("numpy") == ["numpy"]
    assert len(loaded) == 5 and not any(loaded.values()), loaded
