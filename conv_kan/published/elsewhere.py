"""Published names that are none of conv_kan.published, and where what they are is found."""

from __future__ import annotations

from fnmatch import fnmatchcase

_FAMILIES = {
    "ConvKAN": "conv_kan",
    "FastConvKAN": "conv_fastkan",
    "ConvKALN": "conv_kaln",
    "ConvKACN": "conv_kacn",
    "ConvKAGN": "conv_kagn",
    "ConvWavKAN": "conv_wavkan",
    "MoEConvKAGNBN": "conv_moe_kagn_bn",
    "Conv": "conv",
}
_VGGS = {
    "VGGKAN": "vggkan",
    "FastVGGKAN": "fast_vggkan",
    "VGGKALN": "vggkaln",
    "VGGKACN": "vggkacn",
    "VGGKAGN": "vggkagn",
    "VGGKAGN_BN": "vggkagn_bn",
    "MoEVGGKAGN": "moe_vggkagn",
    "MoE_VGGKAGN_BN": "moe_vggkagn_bn",
    "WavVVGKAN": "vgg_wav_kan",
}
# Published networks, by class and by function, and their names in models.
NETWORKS: dict[str, str] = {
    **_VGGS,
    **{name: name for name in _VGGS.values()},
    **{f"Simple{theirs}": f"simple_{ours}" for theirs, ours in _FAMILIES.items()},
    **{f"EightSimple{theirs}": f"eight_simple_{ours}" for theirs, ours in _FAMILIES.items()},
}
# Patterns of published networks that keep their names.
KEPT = ("*resk*net*", "*densek*net*", "kagrdnet_*")
# Patterns of published networks that are not built here.
UNBUILT = (
    "[Uu]*[Kk]*[Nn]et*",
    "fast_u*kanet*",
    "u2net*",
    "*AutoKA*",
    "PEFT*",
    "kat_*patch*",
)
# Patterns of other published names -> where it is here.
OTHERS: dict[str, str] = {
    "*Res*KA*": "models.create_model: see models.list_models('*res*net*')",
    "*Dense*KA*": "models.create_model: see models.list_models('*dense*net*')",
    "*RDNet*": "models.create_model: see models.list_models('*rdnet*')",
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
_CALL = "models.create_model({!r}, num_classes=..., input_channels=...)"


def find_elsewhere(name: str) -> str | None:
    """Where what a published name stands for is found, in words; None for a name that is none."""
    if name in NETWORKS:
        return f"networks are made by {_CALL.format(NETWORKS[name])}"
    if any(fnmatchcase(name, pattern) for pattern in KEPT):
        return f"networks are made by {_CALL.format(name)}"
    if any(fnmatchcase(name, pattern) for pattern in UNBUILT):
        return "it is none of the networks that models.create_model makes: see models.list_models()"
    return next((where for pattern, where in OTHERS.items() if fnmatchcase(name, pattern)), None)
