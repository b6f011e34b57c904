"""Networks for images, by name: `create_model`, `list_models`, `model_options`.

Importing a module of networks registers its rows.
"""

from models import baselines, vggkan
from models.options import Option
from models.registry import check_options, create_model, list_models, model_options, register

__all__ = [
    "Option",
    "baselines",
    "check_options",
    "create_model",
    "list_models",
    "model_options",
    "register",
    "vggkan",
]
