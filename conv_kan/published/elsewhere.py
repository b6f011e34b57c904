"""Published names that are none of conv_kan.published, and where what they are is found."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

_LAYERS = ("Conv", "ConvKAN", "FastConvKAN", "ConvKALN", "ConvKACN", "ConvKAGN", "ConvWavKAN",
           "MoEConvKAGNBN")  # fmt: skip
# Published networks, by class and by function; models.published has them.
NETWORKS = (
    *(f"Simple{layers}" for layers in _LAYERS),
    *(f"EightSimple{layers}" for layers in _LAYERS),
    *("VGGKAN", "FastVGGKAN", "VGGKALN", "VGGKACN", "VGGKAGN", "VGGKAGN_BN", "MoEVGGKAGN"),
    *("MoE_VGGKAGN_BN", "WavVVGKAN", "vggkan", "fast_vggkan", "vggkaln", "vggkacn", "vggkagn"),
    *("vggkagn_bn", "moe_vggkagn", "moe_vggkagn_bn", "vgg_wav_kan", "AutoKAN", "TinyAutoKAGN"),
    "UKAGNet",
)
# Patterns of others.
MORE_NETWORKS = ("*resk*net*", "*densek*net*", "kagrdnet_*", "uka*net*_18", "fast_ukanet_18",
                 "u2ka*net*", "fast_u2kanet*", "u2net*")  # fmt: skip
# Patterns of published networks that are not built here.
UNBUILT = ("PEFT*",)
# Patterns of other published names -> where it is here.
OTHERS: dict[str, str] = {
    "*Res*KA*": "models.published.reskagnet_18x32p and others: models.list_models('*res*net*')",
    "*Dense*KA*": "models.published.densekagnet121 and others: models.list_models('*dense*net*')",
    "k[ai]t_*patch*": "models.create_model: see models.list_models('k*t_*patch*')",
    "U*KANet*": "models.published.ukagnet_18, u2kagnet_small and others: "
    "models.list_models(task='segmentation')",
    "ResidualUNetBase*": "models.u2net.NestedBlock",
    "*RDNet*": "models.published.kagrdnet_tiny and others: models.list_models('*rdnet*')",
    "*ConvND*": "conv_kan.KANConv(..., basis=..., ndim=...)",
    "WaveletConv*": "conv_kan.WavKANConv",
    "*SelfKANtentionND": "conv_kan.SelfAttention(channels, layer=..., ndim=...)",
    "KANFocalModulationND": "conv_kan.FocalModulation(channels, layer=..., ndim=...)",
    "MoEKANConvBase": "conv_kan.MixtureOfExperts(channels, expert=...)",
    "KAGNExpert": "conv_kan.KANConv",
    "KAGNMoE": "conv_kan.MixtureOfExperts(channels, expert=...)",
    "SparseDispatcher": "conv_kan.MixtureOfExperts, which sends samples to experts itself",
    "*_conv[13]x[13]": "conv_kan.get_family(...).conv, with padding=1 for 3x3",
    "SplineLinear": "torch.nn.Linear",
    "MatryoshkaHead": "models.heads.MatryoshkaHead, and head=matryoshka of the VGG networks",
    "L1": "penalty.l1_decay of a run, or conv_kan.layers.regularization.l1_weight_norm",
    "L2": "optimizer.weight_decay of a run, or that of any optimizer",
    "WeightDecay": "penalty.l1_decay and optimizer.weight_decay of a run",
    "NoiseInjection": "dropout_kind='noise' of every layer",
    "NoiseMultiplicativeInjection": "dropout_kind='noise' of every layer, which adds noise",
    "LayerNorm2d": "conv_kan.ops.maths.norms.ChannelLayerNorm, or norm='layer' of every layer",
    "*[Rr]ational*": "conv_kan.GroupRational, or conv_kan.published.KAT_Group",
    "*Loss": "loss= of a run: cross_entropy, focal or bce",
}


def is_network(name: str) -> bool:
    """Whether a published name is that of a network which models.published has."""
    return name in NETWORKS or _fits(name, MORE_NETWORKS)


def find_elsewhere(name: str) -> str | None:
    """Where what a published name stands for is found, in words; None for a name that is none."""
    if is_network(name):
        return f"networks are made by models.published.{name}"
    if _fits(name, UNBUILT):
        return "it is not built here: see models.published.list_published() and list_models()"
    return next((where for pattern, where in OTHERS.items() if fnmatchcase(name, pattern)), None)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
