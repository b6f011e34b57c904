"""Networks for images, by name: `create_model`, `list_models`, `model_options`.

Classifiers give logits, and networks for segmentation logits of every position: `model_task` says
which a name is, `list_models(task="segmentation")` names one kind alone, `check_task` refuses the
other in words.

With weights and what they need: `from_pretrained`, `save_pretrained`, `push_to_hub`. Published
networks by their own calls: `models.published`. timm has all of them once both are imported:
`timm.create_model("reskagnet_18x32p", num_classes=10)`.

Names and options are known without torch, which comes with the first model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conv_kan.lazy import lazy_names
from models.create import create_model
from models.options import Option
from models.registry import (
    check_options,
    check_task,
    list_models,
    model_options,
    model_task,
    register,
)
from models.timm_hook import register_with_timm

if TYPE_CHECKING:
    from models import (
        baselines,
        densekanet,
        foreign,
        kaconv,
        published,
        rdnet,
        reskanet,
        rkan,
        u2net,
        ukan,
        unet,
        vggkan,
    )
    from models.description import Description
    from models.hub import from_pretrained, push_to_hub, save_pretrained
else:
    _HUB = ("from_pretrained", "push_to_hub", "save_pretrained")
    _ORIGINS = {"Description": "models.description", **dict.fromkeys(_HUB, "models.hub")}
    __getattr__, __dir__ = lazy_names(__name__, _ORIGINS)

register_with_timm()

__all__ = [
    "Description",
    "Option",
    "baselines",
    "check_options",
    "check_task",
    "create_model",
    "densekanet",
    "foreign",
    "from_pretrained",
    "kaconv",
    "list_models",
    "model_options",
    "model_task",
    "published",
    "push_to_hub",
    "rdnet",
    "register",
    "reskanet",
    "rkan",
    "save_pretrained",
    "u2net",
    "ukan",
    "unet",
    "vggkan",
]
