"""Decoders of segmentation_models_pytorch on any encoder of theirs or of timm's registry.

Networks of this library are encoders, too: encoder="tu-reskagnet_18x32p width_scale=2".
"""

from __future__ import annotations

from models.entry import Entry
from models.options import Option

DECODERS = ("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan", "deeplabv3",
            "deeplabv3plus", "upernet", "segformer")  # fmt: skip

ROWS = (
    Entry(
        "smp",
        "models.smp:build_smp",
        (
            Option("decoder", str, "unet", "the architecture", choices=DECODERS),
            Option("encoder", str, "resnet34", "a network of segmentation_models_pytorch, or tu- "
                   "and the name of one of timm or of this library, which may be followed by its "
                   "options: 'tu-NAME option=value ...'"),
            Option("depth", int | None, None, "how often the encoder halves the maps; null: as "
                   "often as it does, but 5 times at most", minimum=1),
            Option("pretrained", bool, False, "load published weights of the encoder, from the net "
                   "if need be"),
        ),
        task="segmentation",
    ),
)  # fmt: skip
