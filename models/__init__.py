"""Networks for images, by name: `create_model`, `list_models`, `model_options`.

Names and options are known without torch, which comes with the first model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conv_kan.lazy import lazy_names
from models.options import Option
from models.registry import check_options, create_model, list_models, model_options, register

if TYPE_CHECKING:
    from models import baselines, foreign, kaconv, rdnet, rkan, vggkan
else:
    __getattr__, __dir__ = lazy_names(__name__, {})

__all__ = [
    "Option",
    "baselines",
    "check_options",
    "create_model",
    "foreign",
    "kaconv",
    "list_models",
    "model_options",
    "rdnet",
    "register",
    "rkan",
    "vggkan",
]
