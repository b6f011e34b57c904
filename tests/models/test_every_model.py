"""What holds for every registered model, at a small size."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conv_kan.interop import export_published
from models import (
    Option,
    check_options,
    check_task,
    create_model,
    list_models,
    model_options,
    model_task,
)
from models.features import feature_net
from models.registry import _MODELS
from models.rows.common import KINDS_BY_SUFFIX

# Small values for the options that decide a model's size; a model takes those that fit its own.
SMALL: dict[str, Any] = {
    "size": "mini",
    "layer_sizes": 8,
    "width_scale": 0.25,
    "blocks": (1, 1, 1, 1),
    "block_config": (2, 1),
    "depth": 2,
    "depths": (2,) * 6,
    "layers": 1,
    "channels": (64, 32, 32),
}
# The same of networks of other libraries, and of one that takes images of one size.
SMALL_FOREIGN: dict[str, dict[str, Any]] = {
    "timm": {"architecture": "test_resnet"},
    "torchvision": {"architecture": "shufflenet_v2_x0_5"},
    "rkan": {"backbone": "test_resnet", "stages": (3, 4)},
    "rational_mlp": {"image_size": 32, "hidden": 16},
    "mlp": {"image_size": 32, "hidden": 16},
    "smp": {
        "decoder": "fpn",
        "encoder": "tu-reskacnet width_scale=0.25 blocks=[1,1,1,1]",
        "depth": None,
    },
}
# Transformers, which are made for images of one size.
SMALL_TRANSFORMER = {"image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "depth": 2}
# Depths that differ in their numbers of layers alone.
ALIKE = {34: 18, 101: 50, 152: 50, 161: 121, 169: 121, 201: 121}
# Networks to try what depends on a kind of layer, not on what is built of them.
OF_EVERY_KIND = [f"simple_conv_{suffix}".removesuffix("_") for suffix in KINDS_BY_SUFFIX]
OF_EVERY_FAMILY = [
    "twelve_simple_conv_kagn",
    "vggkagn",
    "reskagnet",
    "densekagnet",
    "kagrdnet",
    "kaconvnet",
    "rkan",
    "timm",
    "kat",
    "ukagnet",
    "ukagnet_18",
    "u2kagnet_small",
    "ukan",
    "smp",
]
# Which give logits to every pixel; these are networks of every kind, too, in many families.
U_FAMILIES = ["models.u2net:build_u2net", "models.unet:build_residual_unet",
              "models.unet:build_unet"]  # fmt: skip


def sizes_of(name: str) -> dict[str, Any]:
    known = model_options(name)
    sizes = {key: SMALL[key] for key in SMALL if key in known and fits(known[key], SMALL[key])}
    if "layer_sizes" in known:
        sizes["layer_sizes"] = [8] * len(known["layer_sizes"].default)
    if known.get("blocks") is not None and "blocks" not in sizes and fits(known["blocks"], 1):
        sizes["blocks"] = 1
    sizes |= SMALL_TRANSFORMER if "heads" in known else {}
    return sizes | SMALL_FOREIGN.get(name, {})


def fits(option: Option, value: Any) -> bool:
    try:
        option.check(value)
    except ValueError:
        return False
    return True


def small(name: str, **options: Any) -> Any:
    known = model_options(name)
    given = {key: value for key, value in options.items() if key in known}
    return create_model(name, num_classes=5, input_channels=3, **{**sizes_of(name), **given})


def distinct_models(each: bool = False) -> list[str]:
    """One name for each small network; names that differ in their depth alone are one.

    Of U-networks a kind is tried in one family, in turn, unless each is asked for.
    """
    found: dict[str, str] = {}
    for name in list_models():
        entry, values = _MODELS[name], check_options(name, sizes_of(name))
        if "depth" in values:
            values["depth"] = ALIKE.get(values["depth"], values["depth"])
        if "depths" in values:  # of blocks, whose channels follow from the size alone
            values.pop("size")
        found.setdefault(repr((entry.build, entry.arguments, values)), name)
    kinds = [*dict.fromkeys(kind for kind, _ in KINDS_BY_SUFFIX.values())]

    def is_in_turn(name: str) -> bool:
        family, kind = _MODELS[name].build, _MODELS[name].arguments.get("kind")
        return family not in U_FAMILIES or U_FAMILIES[kinds.index(kind) % 3] == family

    return sorted(name for name in found.values() if each or is_in_turn(name))


def images(size: int = 32, ndim: int = 2) -> Tensor:
    seed = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, *[size] * ndim, generator=seed)


def parts(outputs: Any) -> tuple[Tensor, ...]:
    """All outputs, of networks that give several in training, too."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def shape_of(name: str, x: Tensor, outputs: int = 5) -> tuple[int, ...]:
    """Of the outputs for a batch."""
    is_map = model_task(name) == "segmentation"
    return (len(x), outputs, *(x.shape[2:] if is_map else ()))


def with_slow_maps(names: Iterable[str], but: str = "") -> list[Any]:
    """The names, of which networks that give maps are tried where time does not count, but one."""
    is_map = {name: name != but and model_task(name) == "segmentation" for name in names}
    slow = [pytest.mark.slow]
    return [pytest.param(name, marks=slow if is_map[name] else []) for name in names]


every_model = pytest.mark.parametrize("name", distinct_models())
some_models = pytest.mark.parametrize("name", [*OF_EVERY_KIND, *OF_EVERY_FAMILY])


@every_model
def test_trains_saves_and_predicts(name: str, tmp_path: Path) -> None:
    """One step moves every weight by its gradient; what is saved predicts the same."""
    torch.manual_seed(0)
    model, x = small(name), images()
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in small(name).state_dict().items()}
    assert shapes == {key: value.shape for key, value in model.state_dict().items()}
    logits = parts(model(x))
    assert {part.shape for part in logits} == {shape_of(name, x)}
    sum(part.square().mean() for part in logits).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), f"{key} has a gradient that is not finite"
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    # Narrow functions behind each other multiply gradients, in 25 layers of ReLU-KAN to 1e13.
    largest = max(float(parameter.grad.abs().max()) for parameter in model.parameters())
    lr = 0.1 / max(1.0, largest)
    torch.optim.SGD(model.parameters(), lr=lr, foreach=False).step()
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key].add(parameter.grad, alpha=-lr)), key
    model(x)  # moves the statistics of batch norms away from their start
    model.eval()
    save_file({key: v.contiguous() for key, v in model.state_dict().items()}, tmp_path / "weights")
    torch.manual_seed(1)
    other = small(name).eval()
    other.load_state_dict(load_file(tmp_path / "weights"))
    with torch.no_grad():
        logits = model(x)
        torch.testing.assert_close(copy.deepcopy(model)(x), logits, rtol=0, atol=0)
        torch.testing.assert_close(other(x), logits, rtol=0, atol=0)


@every_model
def test_keeps_the_contract_of_timm(name: str) -> None:
    from timm.models import group_parameters
    from timm.optim import param_groups_layer_decay

    model, x = small(name).eval(), images()
    for coarse in (False, True):
        groups = group_parameters(model, model.group_matcher(coarse=coarse))
        found = [key for group in groups.values() for key in group]
        assert sorted(found) == sorted(key for key, _ in model.named_parameters())
    assert len(param_groups_layer_decay(model, layer_decay=0.5)) > 2
    assert model.get_classifier() is model.head
    with torch.no_grad():
        maps = model.forward_features(x)
        pooled = model.forward_head(maps, pre_logits=True)
        assert pooled.shape[:2] == (4, model.num_features)
        model.reset_classifier(7)
        assert model(x).shape == shape_of(name, x, 7) and model.num_classes == 7
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), pooled, rtol=0, atol=0)
    if name == "smp":  # whose decoder wants all maps of its encoder at once
        return
    net = feature_net(model)
    channels, reductions = net.feature_info.channels(), net.feature_info.reduction()
    assert len(channels) > 1 or name in ("rational_mlp", "mlp")
    with torch.no_grad():
        for maps, width, reduction in zip(net(x), channels, reductions, strict=True):
            assert maps.shape == (4, width, *[-(-32 // reduction)] * 2)


# A network of each family whose head may hold KAN layers, and how it is told.
KAN_HEADED: dict[str, dict[str, Any]] = {
    "simple_conv_kagn": {"degree_out": 2},
    "vggkagn": {"head": "kantryoshka", "head_activation": "gelu"},
    "densekagnet": {},
    "tiny_densekagnet_bn": {},
    "kagrdnet": {"head": "kan"},
    "rkan": {"head": "kan", "head_kind": "chebyshev", "head_degree": 2},
    "timm": {"head": "kan", "head_kind": "efficient", "head_sizes": (4,)},
}


@pytest.mark.parametrize("name", KAN_HEADED)
def test_another_classifier_is_a_kan_like_the_first(name: str) -> None:
    def make(num_classes: int) -> Any:
        options = {**sizes_of(name), **KAN_HEADED[name]}
        return create_model(name, num_classes=num_classes, input_channels=3, **options)

    with torch.device("meta"):
        model, other = make(5), make(7)
        assert any("KAN" in type(module).__name__ for module in model.head.modules())
        model.reset_classifier(7)
    assert repr(model.head) == repr(other.head)
    shapes = [{key: t.shape for key, t in m.state_dict().items()} for m in (model, other)]
    assert shapes[0] == shapes[1]
    assert set(export_published(model)) == set(export_published(other))


@pytest.mark.parametrize(
    "name", [n for n in (*OF_EVERY_KIND, *OF_EVERY_FAMILY) if "ndim" in model_options(n)]
)
@pytest.mark.parametrize("ndim", [1, 3])
def test_signals_and_volumes(name: str, ndim: int) -> None:
    size = 16 if ndim == 3 and "vgg" not in name else 32
    model = small(name, ndim=ndim).eval()
    with torch.no_grad():
        x = images(size, ndim)[:1]
        assert model(x).shape == shape_of(name, x)
        with pytest.raises(ValueError, match="must have shape"):
            model(images())


@pytest.mark.parametrize("form", ["bottleneck", "experts", "bottleneck_experts"])
@pytest.mark.parametrize("name", [n for n in OF_EVERY_KIND if n != "simple_conv"])
def test_every_kind_in_every_form(name: str, form: str) -> None:
    model = small(name, form=form)
    model(images(16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@some_models
def test_prediction_does_not_depend_on_the_batch(name: str) -> None:
    model = small(name).double()  # in float32 the order of sums shows after eight layers
    model(images().double())
    model.eval()
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images().double()])
        torch.testing.assert_close(model(images().double()), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["moe_vggkagn", "moe_reskalnet_18x64p"])
def test_an_image_trains_alike_in_any_batch_of_a_mixture(name: str) -> None:
    """Experts see few images of a batch, and all of them where the network is compiled."""
    calm = {"noisy_gating": False, "dropout_linear": 0.0, "num_experts": 3}
    model, x = small(name, **calm).double(), images().double()
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-9, atol=1e-9)


@some_models
def test_channels_last_images_give_the_same(name: str) -> None:
    model = small(name).double().eval()
    with torch.no_grad():
        last = model(images().double().to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, model(images().double()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", with_slow_maps([*OF_EVERY_KIND, *OF_EVERY_FAMILY], but="ukagnet"))
def test_fits_a_batch(name: str) -> None:
    calm: dict[str, Any] = {"dropout_linear": 0.0, "deep_supervision": False}
    calm |= {"noisy_gating": False} if "moe" in name else {}
    torch.manual_seed(0)
    model, labels = small(name, **calm), torch.arange(4)
    x = images(32 if "heads" in model_options(name) else 16)
    if model_task(name) == "segmentation":
        labels = labels.view(4, 1, 1).expand(4, *x.shape[2:])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses: list[float] = []
    while len(losses) < 100 and not (losses and losses[-1] < 0.5 * losses[0]):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@some_models
def test_no_weight_decay_names_the_learned_shapes(name: str) -> None:
    model = small(name)
    names = {key for key, _ in model.named_parameters()}
    shapes = {key for key in names if ".basis." in key or ".act1." in key or ".act2." in key}
    tokens = {"pos_embed", "cls_token", "reg_token", "dist_token"} & names
    assert model.no_weight_decay() & names == shapes | tokens
    learning = ("kagn", "kagr", "relukan", "grkan", "svkan", "kat")
    assert bool(shapes) == any(word in name for word in learning)


@pytest.mark.parametrize("name", list_models())
def test_options_are_documented_and_their_defaults_valid(name: str) -> None:
    for key, option in model_options(name).items():
        assert key == option.name and option.help
        assert option.check(option.default) == option.default


def test_a_model_of_another_task_is_refused() -> None:
    words = (
        r"vggkagn is for classification and returns logits \(B, num_classes\), where segmentation"
    )
    with pytest.raises(ValueError, match=words):
        check_task("vggkagn", "segmentation")
    with pytest.raises(ValueError, match=r"choose a model of list_models\(task='classification'\)"):
        check_task("ukagnet", "classification")
    check_task("ukagnet", "segmentation")
    both = [list_models(task=task) for task in ("classification", "segmentation")]
    assert sorted(both[0] + both[1]) == list_models() and "u2net" in both[1]
    assert [small(name).task for name in ("ukagnet", "smp", "vgg")] == [
        model_task(name) for name in ("ukagnet", "smp", "vgg")
    ]
    with pytest.raises(ValueError, match="task='segmentatoin' is not known; did you mean 'segm"):
        list_models(task="segmentatoin")


def test_compiles_to_one_graph() -> None:
    check_compiled("simple_conv_kagn")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*distinct_models(each=True)} - {*distinct_models()}))
def test_every_kind_in_every_family_of_u_networks(name: str, tmp_path: Path) -> None:
    test_trains_saves_and_predicts(name, tmp_path)
    test_keeps_the_contract_of_timm(name)


@pytest.mark.slow
@every_model
def test_every_model_compiles_to_one_graph(name: str) -> None:
    check_compiled(name)


@pytest.mark.slow
@some_models
def test_compiles_to_machine_code(name: str) -> None:
    from torch._inductor import config as inductor_config  # which takes seconds

    with inductor_config.patch(fallback_random=True):  # dropout draws what it draws in eager mode
        check_compiled(name, backend="inductor")


def check_compiled(name: str, backend: str = "aot_eager") -> None:
    torch._dynamo.reset()
    model = calm(name).double()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = images().double()
    for mode in (True, False):
        model.train(mode)
        torch.manual_seed(0)
        expected = copy.deepcopy(model)(x)
        torch.manual_seed(0)
        torch.testing.assert_close(compiled(x), expected, rtol=1e-6, atol=1e-6)


def calm(name: str) -> Any:
    """A small network whose experts, which all compute once it is compiled, draw no numbers."""
    return small(name, noisy_gating=False, dropout=0.0) if "moe" in name else small(name)


# The smallest network of each family, and the side of its images.
SMALLEST: dict[str, tuple[dict[str, Any], int]] = {
    "simple_conv_kacn": ({"layer_sizes": (2, 2, 2, 2), "head": "linear"}, 8),
    "vggkacn": ({"width_scale": 0.0625}, 16),
    "reskacnet": ({"width_scale": 0.125, "blocks": (1, 1, 1, 1)}, 8),
    "densekacnet": ({"width_scale": 0.125, "block_config": (1,), "head": "linear"}, 16),
    "kacrdnet": ({"width_scale": 0.25, "size": "mini", "blocks": 1}, 16),
    "kaconvnet": ({"width_scale": 0.0625, "blocks": 1, "stem_stride": 1}, 8),
    "rkan": ({"backbone": "test_resnet"}, 32),
    "timm": ({"architecture": "test_resnet"}, 32),
    "kat": ({**SMALL_TRANSFORMER, "image_size": 8, "patch_size": 4, "depth": 1}, 8),
    "rational_mlp": ({"image_size": 8, "hidden": 8}, 8),
    "rational_cnn": ({}, 16),
    "ukacnet": ({"width_scale": 0.125, "depth": 2, "layers": 1}, 8),
    "ukacnet_18": ({"width_scale": 0.125, "blocks": (1, 1, 1, 1)}, 8),
    "u2kacnet_small": ({"width_scale": 0.125, "depths": (2,) * 6}, 8),
    "ukan": ({"channels": (8, 8, 8)}, 8),
    "smp": (SMALL_FOREIGN["smp"], 16),
}


def smallest(name: str) -> tuple[nn.Module, Tensor]:
    """The smallest network of a family, and images for it."""
    options, size = SMALLEST[name]
    known = model_options(name)
    if "degree" in known and known["degree"].default is not None:
        options = {**options, "degree": 1}
    return create_model(name, num_classes=2, input_channels=3, **options), images(size)


RATIONAL = [pytest.param(n, marks=pytest.mark.slow) for n in ("rational_mlp", "rational_cnn")]
OTHERS = with_slow_maps([name for name in SMALLEST if not name.startswith("rational")])


@pytest.mark.parametrize("name", [*OTHERS, *RATIONAL])
def test_onnx_equals_eager(name: str, tmp_path: Path) -> None:
    model, x = smallest(name)
    check_onnx(model, x, tmp_path / "model.onnx")


COMPILED = ("vggkacn", "simple_conv_kacn", "reskacnet", "densekacnet", "kacrdnet", "kaconvnet",
            "rkan")  # fmt: skip
REST = [pytest.param(n, marks=pytest.mark.slow) for n in SMALLEST if n not in COMPILED]


@pytest.mark.parametrize("name", [*COMPILED, *REST])
def test_machine_code_equals_eager(name: str) -> None:
    """One of each family, of classifiers of convolutions always. As one file without vector
    registers and optimisation g++ takes a quarter of the time."""
    from torch._inductor import config as inductor_config  # which takes seconds

    torch._dynamo.reset()
    model, x = (part.double() for part in smallest(name))
    cheap = {"cpp.simdlen": 1, "aot_inductor.debug_compile": True, "cpp_wrapper": True}
    with inductor_config.patch(cheap), torch.no_grad():
        compiled = torch.compile(model.eval(), backend="inductor", fullgraph=True)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@every_model
def test_every_model_as_onnx_equals_eager(name: str, tmp_path: Path) -> None:
    check_onnx(calm(name), images(), tmp_path / "model.onnx")


def check_onnx(model: nn.Module, x: Tensor, file: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.onnx.export(model.eval(), (x,), file, dynamo=True, optimize=False, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double())
        # What float32 makes of it: 1e-7 in most networks, 3e-3 behind many narrow functions.
        rounding = (model(x) - exact).abs().max().item()
    error = (torch.from_numpy(logits).double() - exact).abs().max().item()
    assert error < 1e-4 * exact.abs().max().item() + 10 * rounding


def test_every_family_has_a_smallest_network() -> None:
    builders = {name: _MODELS[name].build for name in list_models()}
    assert {builders[name] for name in SMALLEST} == set(builders.values())
