"""What the first process does alone, for all: its files. How that ends, all of them learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from experiments.errors import UserError

T = TypeVar("T")


def on_first(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """Run work on the first process, and return its result on all (called on all processes).

    Its UserError or OSError, a full disk for one, is raised on all: none of the others is left
    behind, to fail for want of the first one.
    """
    if accelerator.num_processes == 1:
        return work()
    found: list[Any] = [None, None]  # result, failure
    if accelerator.is_main_process:
        try:
            found[0] = work()
        except (UserError, OSError) as error:
            found[1] = error
    broadcast_object_list(found)
    result, failure = found
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]
