"""Networks as folders: config.json says what they are, model.safetensors holds their weights.

    save_pretrained(model, "folder", description)
    model = from_pretrained("folder")  # or "owner/name", from the Hugging Face hub
    push_to_hub(model, "owner/name", description)

A folder that torch-conv-kan has published opens too. Nothing is unpickled and no code is imported.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from conv_kan.interop import load_published, published_norm
from models.create import create_described, create_model
from models.description import Description, Preprocessing, note_of_weights, read_note
from models.published.networks import OURS, find_network, published_options

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# How published networks were evaluated on ImageNet.
_IMAGENET = Preprocessing(224, 256, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def save_pretrained(model: nn.Module, folder: str | Path, description: Description) -> Path:
    """Write the network into a folder, which is made; return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = description.to_dict()
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    tensors = {key: t.detach().cpu().contiguous() for key, t in model.state_dict().items()}
    note = note_of_weights(f"{description.model}, {description.num_classes} outputs", values)
    save_file(tensors, folder / WEIGHTS, metadata={"note": note, "format": "pt"})
    return folder


def push_to_hub(
    model: nn.Module, repo_id: str, description: Description, *, private: bool = False
) -> str:
    """Write the network into a repository of the hub, which is made; return its address.

    Who uploads is known to the hub by `hf auth login`.
    """
    api = HfApi()
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(model, temporary, description)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder))


def from_pretrained(source: str | Path, *, model: str | None = None) -> nn.Module:
    """The network of a folder or of a repository of the hub, in eval mode.

    Its attribute `description` says what it must be shown and what it answers. `model` names the
    network of published weights whose keys do not tell.

    Raises: ValueError for a source that is absent or no such network, naming the file and what is
        wrong with it.
    """
    values, state = _read(source)
    try:
        if isinstance(values, dict) and "model" in values:
            return _own(Description.from_dict(values), state)
        return _published(values, state, model)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{source}: {error}") from error


def read_pretrained(source: str | Path) -> tuple[Mapping[str, Tensor], Description]:
    """The weights of such a network by our names, and its description.

    Raises: ValueError as from_pretrained.
    """
    values, state = _read(source)
    try:
        if isinstance(values, dict) and "model" in values:
            return state, Description.from_dict(values)
        network: Any = _published(values, state, None)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{source}: {error}") from error
    return network.state_dict(), network.description


def description_of(weights: str | Path) -> Description | None:
    """What a file of weights says of its network; None if it says nothing."""
    with safe_open(weights, "pt") as file:
        return read_note((file.metadata() or {}).get("note", ""))[1]


def _read(source: str | Path) -> tuple[Any, dict[str, Tensor]]:
    """What the two files hold. Raises: ValueError for one that is absent or damaged."""
    config, weights = (file_of(source, name) for name in (CONFIG, WEIGHTS))
    try:
        return json.loads(config.read_text(encoding="utf-8")), load_file(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{source} holds no network that can be read: {error}") from error


def file_of(source: str | Path, name: str) -> Path:
    """A file of a folder, or of a repository: from the network once, then from the cache."""
    if Path(source).is_dir():
        return Path(source) / name
    try:
        return Path(hf_hub_download(str(source), name))
    except HFValidationError as error:
        raise ValueError(f"{source} is no folder, and no name of a repository: owner/name") from (
            error
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{source} is no folder, and the hub does not give {name} of a repository of that "
            f"name: {str(error).splitlines()[0]}"
        ) from error


def _own(description: Description, state: Mapping[str, Tensor]) -> nn.Module:
    model = create_described(description)
    model.load_state_dict(dict(state))
    return _described(model, description)


def _published(
    arguments: Mapping[str, Any], state: Mapping[str, Tensor], name: str | None
) -> nn.Module:
    """A VGG network from its published arguments, which leave out its class and its norm."""
    if not isinstance(arguments, Mapping) or "vgg_type" not in arguments:
        raise ValueError(f"{CONFIG} describes no network of this library, nor a published VGG")
    name = name or _network_of(state)
    known = signature(find_network(name)).parameters
    name = OURS.get(name, name)
    given = {key: value for key, value in arguments.items() if key in known}
    sizes = {"input_channels": 3, "num_classes": 1000}
    options = {**sizes, **published_options(name, given), **published_norm(state)}
    input_channels, num_classes = (options.pop(size) for size in sizes)
    description = Description(
        model=name,
        options=options,
        num_classes=num_classes,
        input_channels=input_channels,
        input_shape=(input_channels, 224, 224),
        task="classification",
        preprocessing=_IMAGENET,
    )
    model = create_model(name, num_classes=num_classes, input_channels=input_channels, **options)
    load_published(model, state)
    return _described(model, description)


def _network_of(state: Mapping[str, Tensor]) -> str:
    """The network by the names of its tensors: of Gram polynomials, in bottlenecks or not."""
    if not any(key.endswith("beta_weights") for key in state):
        raise ValueError(
            "its weights are not those of Gram polynomials; name the network: "
            "from_pretrained(source, model='vggkaln')"
        )
    return "vggkagn_bn" if any(".inner_proj." in key for key in state) else "vggkagn"


def _described(model: nn.Module, description: Description) -> nn.Module:
    model.description = description  # type: ignore[assignment]
    return model.eval()
