"""Maps of images of any size: sides are brought to what a network halves, large images go in parts.

    from experiments.tasks.windows import segment
    maps = segment(model, images, window=256, overlap=0.25)

needs neither a trainer nor a config.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.data.extras import import_extra
from models.description import Preprocessing

WINDOWS_AT_ONCE = 4  # that go through the network together


def window_of(given: int | None, rule: Preprocessing | None) -> int | None:
    """The side of the windows of a trained network: task.window, or else that of its cubes."""
    return given or (None if rule is None else rule.window)


def segment(
    model: Callable[[Tensor], Any],
    images: Tensor,
    *,
    window: int | None = None,
    overlap: float = 0.25,
    divisor: int | None = None,
) -> Tensor:
    """The maps of logits of images of any size, in the model's own mode.

    With a window, what is larger goes through the model in cubes of that side, neighbours of which
    share the part `overlap` of it; where they share pixels their logits are averaged, those near
    the middle of a window counting more (MONAI's sliding_window_inference, Gaussian). divisor: what
    sides must be divisible by; None asks the model (`size_divisor`).

    Shapes: images (B, C, *S) -> (B, K, *S).
    Raises: DataError: an image is larger than the window, and MONAI is not installed.
    """
    divisor = size_divisor(model) if divisor is None else divisor

    def run(part: Tensor) -> Tensor:
        outputs = run_padded(model, part, divisor)
        maps: Tensor = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        return maps

    sides = images.shape[2:]
    if window is None or max(sides) <= window:
        return run(images)
    larger = f"an input of {max(sides)} in windows of {window} (task.window)"
    inferers = import_extra("monai", larger).inferers
    maps: Tensor = inferers.sliding_window_inference(
        images,
        [min(window, side) for side in sides],
        WINDOWS_AT_ONCE,
        run,
        overlap=overlap,
        mode="gaussian",
    )
    return maps


def run_padded(model: Callable[[Tensor], Any], images: Tensor, divisor: int) -> Any:
    """model(images), padded by reflection to sides that divisor divides; its maps are cut again.

    Shapes: images (B, C, *S) -> maps (B, K, *S), or a tuple of them if the model returns one.
    """
    sides = images.shape[2:]
    outputs = model(pad_to_multiple(images, divisor))

    def cut(maps: Tensor) -> Tensor:
        for axis, side in enumerate(sides, start=2):
            maps = maps.narrow(axis, 0, side)
        return maps

    return type(outputs)(map(cut, outputs)) if isinstance(outputs, (tuple, list)) else cut(outputs)


def pad_to_multiple(images: Tensor, divisor: int) -> Tensor:
    """Images whose sides divisor divides, continued beyond their ends by reflection.

    Unlike torch's own reflection it takes any side, also one shorter than what is added.

    Shapes: (B, C, *S) -> (B, C, *T), T the next multiples of divisor.
    """
    for axis, side in enumerate(images.shape[2:], start=2):
        if added := -side % divisor:
            # 0 1 2 3 2 1 0 1 ...: a wave whose period is twice the side less its two ends
            period = max(2 * side - 2, 1)
            wave = torch.arange(side + added, device=images.device) % period
            index = torch.minimum(wave, period - wave).clamp_max(side - 1)
            images = images.index_select(axis, index)
    return images


def size_divisor(model: Any) -> int:
    """What a network's depth divides sides by; 1 if it does not tell."""
    return int(getattr(model, "size_divisor", 1))
