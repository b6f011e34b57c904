"""The logits of published networks from the same weights.

tests/golden/models.json holds of some networks: the arguments, the published keys and shapes of the
weights, and the logits of one batch. Weights are drawn from their keys, so none are stored. Other
heads are composed of published layers (conv_kan.published), which have golden tensors of their own.
Outputs of U-networks are those of the published code in float64, knots included: norms of few
values make noise of rounding.
"""

import copy
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from conv_kan import published
from conv_kan.interop import export_published, load_published
from conv_kan.interop.plan import without_wrappers
from models import create_model, list_models, model_options
from models.heads import MatryoshkaHead
from models.published import get_published
from models.rows.transformer import PUBLISHED

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "models.json").read_text())


def draw(key: str, shape: list[int]) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    t = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("running_var"):
        return 1 + 0.1 * t.abs()
    if key.endswith("running_mean"):
        return 0.1 * t
    if t.ndim >= 2:
        return t / t[0].numel() ** 0.5
    return 0.1 * t + (1 if key.endswith("weight") else 0)


@pytest.mark.parametrize("factory", GOLDEN)
def test_logits_of_published_weights(factory: str) -> None:
    golden = GOLDEN[factory]
    model = make(factory, golden["kwargs"]).eval()
    state = {key: draw(key, shape) for key, shape in golden["state"].items()}
    if factory == "UKAN":  # whose knots are as they begin
        state |= {k: v for k, v in export_published(model).items() if k.endswith(".grid")}
    load_published(model, state)
    exported = export_published(model)
    # What the file leaves out: constants, and the gates of mixtures that nothing reads.
    unlearned = ("num_batches_tracked", "rbf.grid", "arange", "experts.mean", "experts.std",
                 "conv1.w_gate", "conv1.w_noise", "conv2.w_gate", "conv2.w_noise")  # fmt: skip
    wanted = {without_wrappers(key) for key in state}
    assert {key for key in set(exported) - wanted if not key.endswith(unlearned)} == set()
    assert all(torch.equal(exported[without_wrappers(key)], state[key]) for key in state)
    seed = torch.Generator().manual_seed(golden["input_seed"])
    x = torch.randn(golden["input_shape"], generator=seed)
    tolerance = 1e-5
    deep = "net" in factory or factory == "UKAN"
    if factory.startswith("kat_"):
        tolerance = 1e-4
    if factory == "vggkaln" or deep:  # recorded in float32, whose errors deep networks magnify
        model, x, tolerance = model.double(), x.double(), 3e-5
    several = isinstance(golden["outputs"], list)
    with torch.no_grad():
        found = model.train(several)(x)  # several outputs are returned in training alone
    recorded = golden["outputs"] if several else [golden["outputs"]]
    for output, wanted in zip(
        found if isinstance(found, tuple) else [found], recorded, strict=True
    ):
        logits, first = output.flatten(), torch.tensor(wanted["first"])
        error = (logits[: len(first)] - first).abs().max() / first.abs().max()
        assert error < tolerance
        assert logits.abs().sum().item() == pytest.approx(wanted["abs_sum"], rel=tolerance)


def make(factory: str, options: dict[str, Any]) -> Any:
    """The network of a published function; U-KAN and transformers are rows alone."""
    if factory == "UKAN":
        sizes = {"num_classes": options["num_classes"], "channels": options["embed_dims"]}
        return create_model("ukan", input_channels=3, **sizes)
    arguments = {"input_channels": 3, "num_classes": 10, **options}
    if "norm_layer" in arguments:
        arguments["norm_layer"] = getattr(nn, arguments["norm_layer"])
    if factory.startswith("kat_"):
        return create_model(factory, **{**arguments, **PUBLISHED[factory]})
    return get_published(factory)(**arguments)


# Our network -> the published function that makes its KAN head; without the plain twin, and without
# networks that nobody has published.
MLPS: dict[str, Callable[..., nn.Module]] = {
    "vggkan": lambda sizes: published.mlp_kan(sizes, base_activation=nn.SiLU),
    "fast_vggkan": lambda sizes: published.mlp_fastkan(sizes, base_activation=nn.SiLU),
    "vggkaln": lambda sizes: published.mlp_kaln(sizes, legacy=True),
    "vggkacn": published.mlp_kacn,
    "vggkagn": published.mlp_kagn,
    "vggkagn_bn": published.mlp_kagn,
    "moe_vggkagn": published.mlp_kagn,
    "moe_vggkagn_bn": published.mlp_kagn,
    "vgg_wav_kan": published.mlp_wav_kan,
}
# What published networks were made with, where it is not the default here. Those with a
# base_activation have it in the convolutions and in the head.
AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "vggkan": {"base": "silu", "head_activation": "silu"},
    "fast_vggkan": {"base": "silu", "grid_size": 5, "grid_range": (-1, 1)},
    "vggkaln": {"squash": "minmax", "head_activation": "gelu"},
    "vggkagn": {"head_activation": "gelu"},
    "vggkagn_bn": {"head_activation": "gelu"},
    "moe_vggkagn": {"head_activation": "gelu"},
    "moe_vggkagn_bn": {"head_activation": "gelu"},
}
UNPUBLISHED = ("vggkajn", "vggkabn", "vggrelukan", "vggsvkan", "vgggrkan", "vggfourierkan",
               "vggpolykan")  # fmt: skip
SMALL = {"width_scale": 0.125, "head": "kan", "scale": "none"}
KAN_HEADS = ("kan", "hidden_kan", "kantryoshka")


def vgg(name: str, head: str, **options: Any) -> Any:
    scale = {"scale": "none"} if "scale" in model_options(name) else {}
    options = {"width_scale": 0.125, "head": head, **scale, **options}
    return create_model(name, num_classes=10, input_channels=3, **options)


def published_head(name: str, head: str) -> nn.Module:
    """The classifier of a published network of 16 features."""
    mlp = MLPS[name]
    if head == "kan":
        return mlp([16, 10])
    last = (
        nn.Linear(512, 10) if head == "hidden_kan" else MatryoshkaHead((32, 64, 128, 256, 512), 10)
    )
    return nn.Sequential(mlp([16, 512]), nn.Dropout(0.5), last)


@pytest.mark.parametrize("head", KAN_HEADS)
@pytest.mark.parametrize("name", MLPS)
@pytest.mark.filterwarnings("ignore:features|the model|the module")
def test_kan_heads_are_the_published_ones(name: str, head: str) -> None:
    torch.manual_seed(0)
    model = vgg(name, head, **AS_PUBLISHED.get(name, {})).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    state = export_published(model)
    classifier = {
        k.removeprefix("classifier."): v for k, v in state.items() if k[:10] == "classifier"
    }
    assert not [key for key in state if not key.startswith(("features.", "classifier."))]
    # The published functions begin with a dropout, which counts.
    assert any(
        key.startswith("layers.1." if head == "kan" else "0.layers.1.") for key in classifier
    )
    twin = published_head(name, head).eval()
    load_published(twin, classifier)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        torch.testing.assert_close(model(x), twin(pooled))


def test_every_published_network_is_compared() -> None:
    assert set(list_models("*vgg*")) - set(MLPS) == {"vgg", *UNPUBLISHED}


@pytest.mark.parametrize("name", UNPUBLISHED)
@pytest.mark.filterwarnings("ignore:published Bernstein")
def test_networks_that_nobody_published_are_written_and_read(name: str) -> None:
    """Even though single layers of theirs are published."""
    source, target = (create_model(name, num_classes=3, input_channels=3, **SMALL) for _ in "ab")
    load_published(target, export_published(source))
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in target.state_dict().items())


def gram_layer(x: Tensor, state: dict[str, Tensor], act: Callable[[Tensor], Tensor]) -> Tensor:
    """act(LN(sum_cj act(P_j(tanh x_c)) G[c, o, j] + W act(x)))."""
    beta, z = state["beta_weights"], torch.tanh(x)
    p = [torch.ones_like(z), z]
    for m in range(2, len(beta)):
        factor = (2 * m - 1) * (m - 1) ** 2 * (4 * (m - 1) ** 2 - 1) / m**2
        p.append(z * p[-1] - factor * beta[m - 1] * p[-2])
    functions = act(torch.stack(p, dim=-1))
    y = torch.einsum("ncj,coj->no", functions, state["grams_basis_weights"])
    y = y + act(x) @ state["base_weights"].t()
    return act(F.layer_norm(y, y.shape[1:], state["norm.weight"], state["norm.bias"]))


def test_the_activation_of_a_gram_head_is_everywhere() -> None:
    """The golden layer has SiLU; the published head is the same formula with GELU."""
    golden = {
        k: v.double() for k, v in load_file(FOLDER / "linear" / "GRAMLayer.safetensors").items()
    }
    layer = {k.removeprefix("state."): v for k, v in golden.items() if k.startswith("state.")}
    torch.testing.assert_close(
        gram_layer(golden["x"], layer, F.silu), golden["y"], rtol=1e-5, atol=1e-6
    )
    head = vgg("vggkagn", "kan", head_activation="gelu").head[1].double()
    state = {k.removeprefix("layers.1."): v for k, v in export_published(head).items()}
    x = torch.randn(4, 16, dtype=torch.float64)
    torch.testing.assert_close(head(x), gram_layer(x, state, F.gelu))


CHOSEN = [name for name in MLPS if "head_activation" in model_options(name)]


@pytest.mark.parametrize(
    ("name", "head"),
    [*((name, "kan") for name in CHOSEN), ("vggkagn", "hidden_kan"), ("vggkaln", "kantryoshka")],
)
def test_weights_of_a_head_with_another_activation_are_refused(name: str, head: str) -> None:
    """They fit, and nothing in them says what they were trained with."""
    options = AS_PUBLISHED[name]
    state = export_published(vgg(name, head, **options))
    wanted = options.get("head_activation", "silu")
    other = vgg(name, head, **{**options, "head_activation": "relu"})
    before = copy.deepcopy(other.state_dict())
    words = f"activation relu where the published one has {wanted}.* head_activation='{wanted}'"
    for strict in (True, False):
        with pytest.raises(ValueError, match=words):
            load_published(other, state, strict=strict)
    with pytest.raises(ValueError, match=words):
        export_published(other)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", ["vggkagn", "vggkagn_bn", "vggkaln"])
def test_heads_as_they_are_by_default_refuse_published_weights(name: str) -> None:
    with pytest.raises(ValueError, match="silu where the published one has gelu"):
        export_published(vgg(name, "kan"))
    vgg_linear = vgg(name, "linear")
    assert "classifier.1.weight" in export_published(vgg_linear)


def test_weights_under_our_own_paths_still_load() -> None:
    """What earlier versions exported: nothing published has these names, and nothing is refused."""
    model = vgg("vggkagn", "kantryoshka", head_activation="gelu")
    own = {"features": "features", "head.1": "head.1", "head.3": "head.3"}
    state = {
        key.replace("nesting_classifier_0", "linear"): value
        for key, value in export_published(model, names=own).items()
    }
    target = vgg("vggkagn", "kantryoshka")
    load_published(target, state)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in target.state_dict().items())
    assert set(export_published(target)) == set(state)


def test_paths_may_be_given_for_a_part_or_for_what_it_stands_in() -> None:
    model = vgg("vggkagn", "kan", head_activation="gelu")
    for names, key in (
        ({"features": "body", "head": "fc"}, "fc.1.layers.1.beta_weights"),
        ({"head.1": "output"}, "output.layers.1.beta_weights"),
    ):
        state = export_published(model, names=names)
        assert key in state
        target = vgg("vggkagn", "kan", head_activation="gelu")
        load_published(target, state, names=names)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in target.state_dict().items())


@pytest.mark.parametrize(("dropout", "index"), [(0.0, 0), (0.5, 1)])
def test_the_dropout_before_a_kan_head_counts(dropout: float, index: int) -> None:
    """In what is written of a new model, and in what is written again of one that was read."""
    options: dict[str, Any] = {"num_classes": 10, "input_channels": 3, "layer_sizes": [4] * 4}
    model = create_model("simple_conv_kagn", dropout_linear=dropout, **options)
    state = export_published(model)
    assert f"output.layers.{index}.beta_weights" in state
    for other in (0.0, 0.5):
        target = create_model("simple_conv_kagn", dropout_linear=other, **options)
        load_published(target, state)
        assert set(export_published(target)) == set(state)


def test_another_base_function_than_the_published_default_is_named() -> None:
    model = vgg("fast_vggkan", "linear")
    with pytest.warns(UserWarning, match="base='silu', where the published network has 'gelu'"):
        load_published(model, export_published(model))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vggkagn", {"activation": "relu"}, "activation='relu', which weights do not show"),
        ("vggkagn", {"outer": "tanh", "base": "gelu"}, "base='gelu' and outer='tanh'"),
        ("vggkacn", {"squash": "none"}, "squash='none'.*the published ones have squash='tanh'"),
        ("simple_conv_kan", {"base": "silu"}, "base='silu'.*have base='gelu'"),
        ("vgg_wav_kan", {"activation": "silu"}, "activation='silu'.*have activation='none'"),
    ],
)
def test_convolutions_that_no_published_network_has(
    name: str, options: dict[str, Any], words: str
) -> None:
    small: dict[str, Any] = {"width_scale": 0.125, "layer_sizes": [4] * 4}
    small = {key: small[key] for key in small if key in model_options(name)}
    state = export_published(create_model(name, num_classes=3, input_channels=3, **small))
    model = create_model(name, num_classes=3, input_channels=3, **small, **options)
    with pytest.raises(ValueError, match=words):
        load_published(model, state)


def test_a_norm_that_looks_like_an_instance_norm_is_named() -> None:
    source = vgg("vggkagn", "linear", norm="instance", affine=False)
    with pytest.warns(UserWarning, match="norm='group', where published networks have 'batch'"):
        load_published(
            vgg("vggkagn", "linear", norm="group", affine=False), export_published(source)
        )
