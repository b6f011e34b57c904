"""Devices of a search: shares, how many trials fit, how a trial of several processes starts."""

from __future__ import annotations

import os

import pytest

from experiments.errors import ConfigError
from experiments.tuning.config import TuneConfig
from experiments.tuning.process import entry_command, environment, path_override
from experiments.tuning.ray_search import jobs_at_once


def test_as_many_trials_as_the_devices_are_enough_for() -> None:
    there = {"CPU": 16.0, "GPU": 2.0}
    assert jobs_at_once(TuneConfig(), there) == 16
    assert jobs_at_once(TuneConfig(gpus=0.25), there) == 8
    assert jobs_at_once(TuneConfig(cpus=4, gpus=0.1), there) == 4
    assert jobs_at_once(TuneConfig(gpus=2, processes=2, cpus=2), there) == 1
    assert jobs_at_once(TuneConfig(jobs=3), there) == 3
    with pytest.raises(ConfigError, match=r"tune.gpus: a trial asks for 1 GPUs, and Ray has 0"):
        jobs_at_once(TuneConfig(gpus=1), {"CPU": 4.0})


def test_several_processes_have_a_launcher() -> None:
    assert entry_command("my.py", 1, 0.5)[1:] == ["my.py"]
    on_gpus = entry_command("my.py", 2, 2)
    assert "accelerate.commands.launch" in on_gpus and on_gpus[-1] == "my.py"
    assert "torch.distributed.run" in entry_command("my.py", 2, 0)
    found = environment({"OMP_NUM_THREADS": None, "X": "1"}, 2, 0)
    assert "OMP_NUM_THREADS" not in found and found["X"] == "1"
    assert found["ACCELERATE_USE_CPU"] == "1" and found["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("path", ["/tmp/a b", "/tmp/it's", "/tmp/a\\'b", "/tmp/x=1,2", "/tmp/é{}"])
def test_paths_are_read_as_they_are(path: str) -> None:
    from experiments.config.groups import parse_override

    override = parse_override(path_override("runs_dir", path))
    assert override is not None and str(override.value()) == path
