"""The models that are measured, at sizes for a CPU, and their twins of plain convolutions."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from experiments.errors import ConfigError
from models import create_model, list_models, model_options
from models.complexity import count_parameters

CLASSES, CHANNELS, SIDE = 10, 3, 32

# Shell pattern of the name -> its twin and the options that make both small; the first that fits.
# Other models are built with their defaults and have no twin.
SIZES: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
    ("simple_conv*", "simple_conv", {"layer_sizes": (16, 32, 32, 64)}),
    ("eight_simple_conv*", "eight_simple_conv", {"layer_sizes": (16, 16, 32, 32, 32, 32, 64, 64)}),
    (
        "twelve_simple_conv*",
        "twelve_simple_conv",
        {"layer_sizes": (8,) * 4 + (16,) * 4 + (32,) * 4},
    ),
    ("sixteen_simple_conv*", "sixteen_simple_conv", {"layer_sizes": (8,) * 8 + (16,) * 8}),
    ("*vgg*", "vgg", {"vgg_type": "VGG11v2", "width_scale": 0.5}),
    ("*rdnet*", "rdnet", {"size": "mini", "width_scale": 0.5}),
    ("*dense*net*", "densenet", {"depth": 35, "width_scale": 0.5}),
    ("*res*net*", "resnet", {"depth": 18}),
    ("rkan*", "timm", {"backbone": "resnet18", "stages": (4,)}),
    ("kaconvnet*", "kaconvnet_conv", {"width_scale": 0.5}),
    *(
        (
            pattern,
            "vit",
            {"image_size": SIDE, "patch_size": 4, "width": 96, "heads": 3, "depth": 6},
        )
        for pattern in ("vit*", "kat*", "kan_deit*", "kit*")
    ),
)


def small_options(name: str) -> tuple[str | None, dict[str, Any]]:
    """The twin of a model, and those of its small options that it has."""
    for pattern, twin, options in SIZES:
        if fnmatch.fnmatch(name, pattern):
            known = model_options(name)
            return twin, {key: value for key, value in options.items() if key in known}
    return None, {}


def build(name: str, **options: Any) -> nn.Module:
    """A model for 10 classes of 3x32x32 images."""
    return create_model(name, num_classes=CLASSES, input_channels=CHANNELS, **options)


def matching_models(pattern: str) -> list[str]:
    """The names of classifiers that fit. Raises: ConfigError if none does."""
    names = list_models(pattern, task="classification")
    if not names:
        raise ConfigError(
            f"--models={pattern!r} fits no classifier; type a name or a pattern such as "
            "'simple_conv_*' (python cifar.py --help lists the models)"
        )
    return names


# -------------------------------------------------------------------------------- equal parameters
def equal_widths(
    parameters: Callable[[tuple[int, ...]], int],
    widths: Sequence[int],
    wanted: int,
    tolerance: float = 0.01,
) -> tuple[int, ...]:
    """Widths s * w_i, rounded, for which parameters(widths) is `wanted` within the tolerance.

    The common factor s is found by bisection. Rounding leaves steps; single channels are then added
    to or taken from one layer after another, from the last, while that brings the number nearer.

    Raises: ValueError if no widths are near enough -> a larger network or tolerance.
    """

    def scaled(s: float) -> tuple[int, ...]:
        return tuple(max(1, round(s * w)) for w in widths)

    low, high = 0.0, 1.0
    while parameters(scaled(high)) < wanted:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if parameters(scaled(middle)) < wanted else (low, middle)
    best = min(scaled(low), scaled(high), key=lambda found: abs(parameters(found) - wanted))
    for i in reversed(range(len(widths))):
        for step in (1, -1):
            while True:
                nudged = (*best[:i], max(1, best[i] + step), *best[i + 1 :])
                if abs(parameters(nudged) - wanted) >= abs(parameters(best) - wanted):
                    break
                best = nudged
    off = abs(parameters(best) - wanted) / wanted
    if off > tolerance:
        raise ValueError(
            f"the nearest widths {best} are {100 * off:.1f} % off {wanted:,} parameters; use "
            "larger layers or a larger tolerance"
        )
    return best


def equal_twin(name: str, twin: str, widths: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """A model of these widths, and its twin widened to the same number of parameters."""
    model = build(name, layer_sizes=tuple(widths))

    def parameters(layer_sizes: tuple[int, ...]) -> int:
        with torch.device("meta"):
            return count_parameters(build(twin, layer_sizes=layer_sizes))

    return model, build(twin, layer_sizes=equal_widths(parameters, widths, count_parameters(model)))


# ------------------------------------------------------------------------------------------- steps
def model_step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """Forward, backward and AdamW, as a training step does them; the loss is cross-entropy.

    Models with several outputs (deep supervision, several widths) add theirs up; outputs with a
    class for every pixel have targets of that shape.
    """
    optimizer = torch.optim.AdamW(model.parameters())
    targets: list[Tensor] = []

    def step() -> None:
        outputs = model(images)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        if not targets:
            targets.extend(torch.randint(y.shape[1], (len(y), *y.shape[2:])) for y in outputs)
        loss = sum(map(nn.functional.cross_entropy, outputs, targets))
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
