"""RKAN: side branches beside the stages of a network, built from the rows of models.rows.rkan.

Source: Yu et al. (2024), "Residual Kolmogorov-Arnold Network", arXiv 2410.05500.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from conv_kan.bases import create_basis
from conv_kan.bases.base import Basis
from conv_kan.bases.times_input import TimesInput
from conv_kan.interop.layouts import layouts_of
from conv_kan.interop.rules import Layout
from conv_kan.layers import KANConv
from conv_kan.ops.maths.norms import subtracts_means
from models.blocks import CONVS, ConvBlock
from models.foreign import Body, ForeignNet, make_body, with_head
from models.kinds import KINDS, chosen_arguments
from models.probe import Seen, probe, stages_of


class Branch(nn.Module):
    """y = norm(expand(f(reduce(x)))), f one kernel for all channels alike: 3x3 functions of
    a KAN, or a plain 3x3 convolution and a SiLU.

    reduce and expand are convolutions of 1x1 without bias, with c_in // reduction channels between
    them; norm is a batch norm.

    Shapes: x (B, c_in, H, W) -> y (B, c_out, H / stride, W / stride), rounded up.
    """

    def __init__(self, kernel: nn.Module, c_in: int, c_out: int, reduction: float) -> None:
        super().__init__()
        inner = max(1, int(c_in / reduction))
        self.reduce = nn.Conv2d(c_in, inner, 1, bias=False)
        self.kernel = kernel
        self.expand = nn.Conv2d(inner, c_out, 1, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        u = self.reduce(x)
        maps = u.flatten(0, 1).unsqueeze(1)  # every channel is an image of its own
        is_kan = isinstance(self.kernel, KANConv)
        told = {"centered": subtracts_means(self.norm)} if is_kan else {}
        v = self.kernel(maps, **told).squeeze(1)
        y: Tensor = self.norm(self.expand(v.unflatten(0, u.shape[:2])))
        return y


class SideBranch(nn.Module):
    """y = stage(x) + branch(x), the branch cut to the size of the stage, which may round down."""

    def __init__(self, stage: nn.Module, branch: Branch) -> None:
        super().__init__()
        self.stage, self.branch = stage, branch

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stage(x)
        return y + self.branch(x)[..., : y.shape[2], : y.shape[3]]


def build_rkan(*, num_classes: int, input_channels: int, **options: Any) -> ForeignNet:
    """The backbone with a branch beside each of `stages`.

    Raises: ValueError for a stage that the backbone has not, or that makes no maps; for arguments
        that the kind of functions has not; and as build_foreign.
    """
    body = make_body(options["library"], options["backbone"], num_classes, input_channels, options)
    found = stages_of(body.net, probe(body.net, input_channels))
    aliases: dict[str, str] = {}
    for number in sorted(set(options["stages"])):
        stage = _stage(found, number, options["backbone"])
        aliases |= _add_branch(body, stage, options)
    body.aliases = aliases
    return with_head(body, num_classes, options)


def _stage(found: Sequence[Seen], number: int, backbone: str) -> Seen:
    if not found:
        raise ValueError(
            f"backbone={backbone!r} has no stages of maps to stand beside; choose one of the "
            "residual or dense networks, for example resnet34, regnety_008 or densenet121"
        )
    if number > len(found):
        names = ", ".join(f"{i} ({part.path})" for i, part in enumerate(found, start=1))
        raise ValueError(f"stages: {backbone} has no stage {number}; it has {names}")
    return found[number - 1]


def _basis(options: Mapping[str, Any]) -> Basis:
    kind, names = options["kind"], ("degree", "grid_size", "spline_order")
    known = {name: tuple(row.basis_defaults) for name, row in KINDS.items()}
    chosen = chosen_arguments({name: options[name] for name in names}, known, kind)
    arguments = {**KINDS[kind].basis_defaults, **chosen, "scale": options["scale"]}
    basis = create_basis(KINDS[kind].basis, **arguments)
    return TimesInput(basis, scale=options["scale"]) if options["times_input"] else basis


def _add_branch(body: Body, seen: Seen, options: Mapping[str, Any]) -> dict[str, str]:
    """Put a branch beside a stage; returns the aliases of the parameters in both."""
    stage, path = body.net.get_submodule(seen.path), seen.path
    stride = -(-seen.before[-1] // seen.behind[-1])
    branch = Branch(_kernel(stride, options), seen.before[1], seen.behind[1], options["reduction"])
    own = [name for name, _ in stage.named_parameters()]
    body.net.set_submodule(path, SideBranch(stage, branch))
    aliases = {f"{path}.stage.{name}": f"{path}.{name}" for name in own}
    last = f"{path}.{own[-1]}"
    return aliases | {f"{path}.branch.{name}": last for name, _ in branch.named_parameters()}


def _kernel(stride: int, options: Mapping[str, Any]) -> nn.Module:
    if options["kind"] is None:
        return ConvBlock(CONVS[1](1, 1, 3, stride, 1), None, nn.SiLU())
    base = None if options["base"] == "none" else options["base"]
    return KANConv(
        1, 1, 3, basis=_basis(options), base=base, norm=None, activation=None, stride=stride,
        padding=1, backend=options["backend"],
    )  # fmt: skip


@layouts_of.register
def _beside(module: SideBranch, keys: Collection[str]) -> list[Layout]:
    """A stage keeps its name, as weights of the backbone have it."""
    return [Layout("beside", children={"stage": "", "branch": "branch"})]
