"""Runs of cifar.py that start together, each a fork of one imported interpreter."""

from __future__ import annotations

from dataclasses import dataclass

from tests import forks


@dataclass
class Ended:
    code: int
    output: str


def process(*arguments: str, before: str = "", ranks: int = 1, **environment: str) -> forks.Command:
    """`python cifar.py *arguments`, after the Python code `before`, in each of the ranks."""
    code = f"{before}\nfrom experiments.app import launch\nlaunch('cifar')\n"
    environment = {"ACCELERATE_USE_CPU": "1", **environment}
    return forks.Command(["-c", code, *arguments], ranks, environment)


def side_by_side(*stages: list[forks.Command]) -> list[list[Ended]]:
    """Run the stages one after the other; one result for each process of each stage."""
    return [
        [
            Ended(e.returncode, e.stdout + e.stderr)
            for ranks in forks.run_together(*stage)
            for e in ranks
        ]
        for stage in stages
    ]
