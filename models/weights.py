"""Trained weights into a network of this library, of another number of classes or not.

    print(take_weights(create_model("kat_tiny_patch16_224", ...), "timm:vit_tiny_patch16_224"))

A transformer takes what it shares with others (a ViT becomes a KAT); any other network takes the
weights of its own architecture, with a head of its own where the classes are others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timm.models import adapt_input_conv
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from conv_kan.interop import export_published, load_published, published_names
from conv_kan.interop.plan import without_wrappers
from models.description import Description
from models.parts import SAY_HEAD, head_names
from models.positions import check_width, transformed
from models.trained import Trained, differing, read_trained

_COUNTER = ".num_batches_tracked"
_Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class Taken:
    """What became of every tensor, by its published name, or by ours if the source has those.

    `taken` as they were, `resized` {name: (shape there, shape here)}; `left` {name here: why} keep
    their initial values, `unused` {name there: why} are nowhere here. `notes` in words: a new head,
    adapted channels, what the source says of its network that this one does otherwise.
    """

    taken: tuple[str, ...]
    resized: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    left: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{len(self.taken)} tensors taken"]
        lines += [f"resized {k}: {_times(a)} -> {_times(b)}" for k, (a, b) in self.resized.items()]
        lines += [f"left at its initial value {key}: {why}" for key, why in self.left.items()]
        lines += [f"not used {key}: {why}" for key, why in self.unused.items()]
        return "\n".join([*lines, *self.notes])


def take_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Tensor] | Trained,
    *,
    ema: bool = True,
    here: Description | None = None,
) -> Taken:
    """Copy into `model` what it shares with trained weights; return what became of every tensor.

    source: a state dict, or what models.trained reads: a run, a file, a folder or repository of the
    hub, "timm:NAME"; with `ema` averaged weights where there are any. here: what this network is.
    Names may be ours or published ones. A head of which a tensor has another shape is left out, all
    of it. Where the images have other channels, the weights of the first layer are summed or
    repeated as timm does it (exact for a gray image instead of three equal channels).

    A transformer's positions are resampled to another number of patches, its embedding to patches
    of another size; where the class token has no position here, that of the source is added to the
    token, which is the same. What else it does not share is left out.

    Raises: ValueError for a source that cannot be read, naming it; for weights of another
        architecture, naming the first tensor that differs and what the source says it is; for a
        transformer, for weights that share nothing but shapes, or whose tokens have another width.
    """
    there = _trained(source, ema)
    found = {without_wrappers(key): value for key, value in there.tensors.items()}
    as_here, wanted, head = _naming(model, found)
    values, notes = dict(found), list[str]()
    if isinstance(model, VisionTransformer):
        check_width(model, found)
        values |= transformed(model, found, wanted)
    else:
        values |= _adapted(found, wanted, there.input_channels, here, notes)
    usable = {k: values[k] for k in wanted if k in values and values[k].shape == wanted[k]}
    if any(key not in usable for key in head & found.keys()) or not head & found.keys():
        notes += _new_head(head, there.description, here)
        usable = {key: value for key, value in usable.items() if key not in head}
    if isinstance(model, VisionTransformer):
        if not any(key.startswith("blocks.") for key in usable):
            shown = ", ".join(list(found)[:3]) or "nothing"
            raise ValueError(f"these are no weights of such a transformer: they hold {shown}, ...")
    else:
        _check_body(found, wanted, usable, head, there.description, here)
    if as_here:
        model.load_state_dict({**model.state_dict(), **usable})
    else:
        load_published(model, usable, strict=False)
    if there.description is not None and here is not None:
        others = differing(there.description, here)
        notes += [f"trained with {', '.join(others)}"] if others else []
    return _became(found, wanted, usable, notes)


def _trained(source: str | Path | Mapping[str, Tensor] | Trained, ema: bool) -> Trained:
    if isinstance(source, Trained):
        return source
    if isinstance(source, Mapping):
        return Trained(dict(source))
    return read_trained(str(source), ema=ema)


def _became(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
    usable: Mapping[str, Tensor],
    notes: Sequence[str],
) -> Taken:
    """What became of every tensor, of those found and those wanted."""
    resized = {
        key: (tuple(found[key].shape), tuple(value.shape))
        for key, value in usable.items()
        if value.shape != found[key].shape
    }
    left = {key: _why(key, found, wanted) for key in wanted if key not in usable}
    unused = {
        key: _misfit(key, found, wanted) if key in wanted else "the model has no such tensor"
        for key in found
        if key not in usable
    }
    kept = tuple(key for key in usable if key not in resized)
    return Taken(kept, resized, left, unused, tuple(notes))


def _naming(
    model: nn.Module, found: Collection[str]
) -> tuple[bool, dict[str, tuple[int, ...]], frozenset[str]]:
    """(whether the names are ours, the shapes of all tensors by these names, those of the head)."""
    own, head = model.state_dict(), head_names(model)
    try:
        published = export_published(model)
    except ValueError:  # there is no published network of these weights
        published = own
    if published is own or any(key in own and key not in published for key in found):
        return True, {key: tuple(value.shape) for key, value in own.items()}, head
    outer = published_names(model, {key: own[key] for key in head})
    return False, {key: tuple(v.shape) for key, v in published.items()}, frozenset(outer)


# ------------------------------------------------------------------------------------ architecture
def _check_body(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
    usable: Collection[str],
    head: Collection[str],
    there: Description | None,
    here: Description | None,
) -> None:
    """Refuse weights whose body is another one than the network's."""
    body = [key for key in wanted if key not in head]
    parts = {key.partition(".")[0] for key in body}
    more = [key for key in found if key not in wanted and key.partition(".")[0] in parts]
    wrong = [key for key in body if key not in usable and not key.endswith(_COUNTER)]
    if not wrong and not more:
        return
    key = wrong[0] if wrong else more[0]
    what = _misfit(key, found, wanted) if wrong and key in found else (
        "not there" if wrong else "there, and not here"
    )  # fmt: skip
    says = "they do not say of which"
    if there is not None:
        others = differing(there, here) if here is not None else []
        says = f"they are of model={there.model}, {_sizes(there)}"
        says += f"; {', '.join(others)}" if others else ""
    way = "Make the network with the model and the options that they were trained with"
    if not head and wrong and key in found and found[key].shape[1:] == wanted[key][1:]:
        way += f". If {key} is of the head, which may be of other classes, {SAY_HEAD}"
    raise ValueError(f"these are weights of another network: {key} is {what}; {says}. {way}")


def _new_head(
    head: Collection[str], there: Description | None, here: Description | None
) -> Iterator[str]:
    """What is said of a head that keeps its initial weights."""
    if head and there is not None and here is not None and there.num_classes != here.num_classes:
        count = len(there.class_names) or there.num_classes
        yield f"a new head for {_classes(here)}, where there were {count}"
    elif head:
        yield "a new head, as the one there has other shapes or other names"


def _classes(description: Description) -> str:
    count = len(description.class_names) or description.num_classes
    return f"{count} classes"


def _sizes(description: Description) -> str:
    channels = description.input_channels
    return f"{_classes(description)}, {channels} input channel{'s' if channels > 1 else ''}"


def _why(
    key: str, found: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> str:  # fmt: skip
    if key not in found:
        return "absent"
    same = tuple(found[key].shape) == wanted[key]
    return "of a head of other classes" if same else _misfit(key, found, wanted)


def _misfit(
    key: str, found: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> str:  # fmt: skip
    return f"{_times(tuple(found[key].shape))} there, {_times(wanted[key])} here"


# ---------------------------------------------------------------------------------------- channels
def _adapted(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
    given: int | None,
    here: Description | None,
    notes: list[str],
) -> dict[str, Tensor]:
    """Weights (O, C, *) of what reads images, for images of other channels.

    A layer expands each channel for itself, so that what holds of a convolution holds of it: with
    equal channels, sum_c w_c phi(x_c) = (sum_c w_c) phi(x).
    """
    if given is None or here is None or given == here.input_channels:
        return {}
    channels, made = here.input_channels, dict[str, Tensor]()
    for key, shape in wanted.items():
        value = found.get(key)
        if value is None or value.ndim < 3 or (value.shape[1], shape[1:2]) != (given, (channels,)):
            continue
        if (value.shape[0], *value.shape[2:]) == (shape[0], *shape[2:]):
            made[key] = _for_channels(value, channels)
    if made:
        notes.append(f"{', '.join(made)} adapted from {given} channels to {channels}")
    return made


def _for_channels(weight: Tensor, channels: int) -> Tensor:
    """timm's rule for convolutions, for weights (O, C, *). Raises: ValueError where it has none."""
    given = weight.shape[1]
    if given != 3 and channels != 1:
        raise ValueError(
            f"these weights are for images of {given} channels, and here are {channels}: those "
            f"of 3 can be adapted, others become one; use images of {given} channels"
        )
    if given != 3:
        return weight.sum(1, keepdim=True)
    adapted: Tensor = adapt_input_conv(channels, weight.reshape(*weight.shape[:2], -1, 1))
    return adapted.reshape(len(weight), channels, *weight.shape[2:])


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
