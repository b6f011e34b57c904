"""Parameters of the published networks, from their tables."""

from typing import Any

import pytest
import torch

from conv_kan.bases.rbf import RBF
from conv_kan.layers import Bottleneck, MixtureOfExperts
from models import create_model
from models.rows import densekanet, reskanet

# Published layers of radial functions hold their grid_size centres as frozen parameters; here those
# are numbers, and the tables say how many to take off.
BASELINES = {  # name: (kan head, linear head, published centres in each)
    "simple_conv_kan": (3_515_449, 3_494_958, 0, 0),
    "simple_conv_fastkan": (3_515_480, 3_494_480, 5 * 8, 4 * 8),
    "simple_conv_kaln": (1_953_460, 1_943_210, 0, 0),
    "simple_conv_kacn": (1_562_944, 1_555_274, 0, 0),
    "simple_conv_kagn": (1_953_480, 1_943_226, 0, 0),
    "eight_simple_conv_kan": (40_737_581, 40_696_610, 0, 0),
    "eight_simple_conv_fastkan": (40_737_640, 40_695_648, 9 * 8, 8 * 8),
    "eight_simple_conv_kaln": (22_633_572, 22_613_082, 0, 0),
    "eight_simple_conv_kacn": (18_107_552, 18_092_202, 0, 0),
    "eight_simple_conv_kagn": (22_633_608, 22_613_114, 0, 0),
    "simple_conv_wavkan": (960_340, 952_650, 0, 0),
    "eight_simple_conv_wavkan": (10_747_572, 10_732_202, 0, 0),
}
# (kan head, linear head, inner channels of all layers together): published layers have a second,
# dead pair of gates of 16 experts.
MIXTURES = {
    "simple_conv_moe_kagn_bn": (3_543_457, 3_533_203, 3 + 16 + 32 + 64),
    "eight_simple_conv_moe_kagn_bn": (29_357_537, 29_337_043, 3 + 16 + 16 + 32 + 2 * 64 + 2 * 128),
}
TWINS = {"simple_conv": 391_946, "eight_simple_conv": 4_531_338}
PUBLISHED_VGG: dict[str, Any] = {"norm": "instance", "affine": False, "feature_shape": (7, 7)}
VGG_DEFAULTS: dict[
    str, tuple[int, dict[str, Any], int]
] = {  # name: (published count, options, published numbers without effect)
    "vggkan": (5_250_626, {}, 0),
    "fast_vggkan": (3_521_362, {"grid_size": 5, "grid_range": (-1, 1), "base": "gelu"}, 8 * 5),
    "vggkaln": (2_944_890, {}, 0),
    "vggkagn": (2_944_922, {}, 0),
    "vggkacn": (2_368_458, {}, 0),
    "vgg_wav_kan": (1_418_698, {"norm": "batch"}, 0),
    "vggkagn_bn": (723_799, {"norm": "batch"}, 0),
    "moe_vggkagn": (23_114_078, {}, 0),
    "moe_vggkagn_bn": (1_179_163, {"norm": "batch"}, 2 * 7 * 16 * 8),  # dead gates of 7 layers
}
# vgg_type: (Gram, Gram in bottlenecks)
VGGKAGN_SIZES = {
    "VGG11": (2_883_482, 662_359),
    "VGG13": (2_941_090, 693_855),
    "VGG16": (4_599_982, 1_063_531),
    "VGG19": (6_258_874, 1_433_207),
    "VGG11v2": (4_358_050, 983_903),
    "VGG16v2": (6_074_550, 1_385_075),
    "VGG19v2": (7_733_442, 1_754_751),
    "VGG11v3": (5_096_610, 1_168_479),
    "VGG11v4": (7_308_450, 1_650_783),
    "VGG13v4": (7_366_058, 1_682_279),
    "VGG16v4": (9_024_950, 2_051_955),
    "VGG19v4": (10_683_842, 2_421_631),
}
IMAGENET: dict[str, Any] = {
    "vgg_type": "VGG11v2",
    "degree": 5,
    "width_scale": 2,
    "norm": "instance",
}

# Residual and dense networks, 10 classes, as published.
RESIDUAL_AND_DENSE = {
    "reskanet_18x32p": 788_278,
    "fast_reskanet_18x32p": 525_822,
    "reskalnet_18x32p": 438_210,
    "reskacnet_18x32p": 350_698,
    "reskagnet_18x32p": 438_290,
    "reskagnetbn_18x32p": 166_807,
    "reskagnetbn_moe_18x32p": 578_171,
    "reskagnet_34x32p": 876_754,
    "reskagnetbn_34x32p": 343_383,
    "reskagnetbn_moe_34x32p": 1_246_843,
    "reskalnet_18x64p": 438_210,
    "moe_reskalnet_18x64p": 3_046_522,
    "reskagnet18": 443_090,
    "reskalnet_50x64p": 1_835_330,
    "moe_reskalnet_50x64p": 8_034_682,
    "reskagnet50": 1_846_982,
    "reskagnet_bn50": 894_187,
    "reskalnet_101x64p": 3_315_010,
    "reskagnet_101x64p": 3_315_426,
    "moe_reskalnet_101x64p": 15_006_586,
    "reskalnet_101x32p": 3_315_010,
    "reskagnet101": 3_333_394,
    "reskagnet152": 4_557_918,
    "reskalnet_152x64p": 4_533_570,
    "reskalnet_152x32p": 4_533_570,
    "moe_reskalnet_152x64p": 20_748_666,
    "tiny_densekanet": 8_048_652,
    "tiny_fast_densekanet": 5_407_624,
    "tiny_densekalnet": 4_521_420,
    "tiny_densekagnet": 4_521_548,
    "tiny_densekagnet_bn": 1_527_876,
    "tiny_densekagnet_moebn": 2_503_656,
    "tiny_densekacnet": 3_639_600,
    "densekanet121": 56_359_487,
    "fast_densekanet121": 37_872_921,
    "densekacnet121": 25_448_970,
    "densekalnet121": 31_631_050,
    "densekalnet161": 120_129_106,
    "densekalnet169": 57_745_354,
    "densekalnet201": 82_297_290,
    "densekagnet121": 31_631_518,
    "densekagnet161": 120_129_734,
    "densekagnet169": 57_746_014,
    "densekagnet201": 82_298_078,
    "densekagnet121bn": 19_314_126,
    "densekagnet161bn": 97_274_294,
    "densekagnet169bn": 48_666_510,
    "densekagnet201bn": 84_453_902,
    "densekagnet121moebn": 23_087_142,
    "densekagnet161moebn": 108_658_238,
    "densekagnet169moebn": 54_000_774,
    "densekagnet201moebn": 90_828_998,
}


def count(name: str, num_classes: int = 10, **options: Any) -> int:
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes, input_channels=3, **options)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", BASELINES)
def test_baseline(name: str) -> None:
    kan, linear, kan_centres, linear_centres = BASELINES[name]
    assert count(name) == kan - kan_centres
    assert count(name, head="linear") == linear - linear_centres


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_baseline(name: str) -> None:
    kan, linear, inner = MIXTURES[name]
    published = {"num_experts": 16, "active_experts": 4, "reduction": 4}
    dead = 2 * 16 * inner
    assert count(name, **published) == kan - dead
    assert count(name, head="linear", **published) == linear - dead


@pytest.mark.parametrize("name", TWINS)
def test_plain_baseline(name: str) -> None:
    assert count(name) == TWINS[name]


@pytest.mark.filterwarnings("ignore:an instance norm at the output")
@pytest.mark.parametrize("name", VGG_DEFAULTS)
def test_vgg_with_published_defaults(name: str) -> None:
    published, options, dead = VGG_DEFAULTS[name]
    assert count(name, **{**PUBLISHED_VGG, **options}) == published - dead


@pytest.mark.parametrize("vgg_type", VGGKAGN_SIZES)
def test_vgg_size_table(vgg_type: str) -> None:
    counts = [count(name, vgg_type=vgg_type, affine=False) for name in ("vggkagn", "vggkagn_bn")]
    assert counts == list(VGGKAGN_SIZES[vgg_type])


@pytest.mark.parametrize(
    ("vgg_type", "published"), [("VGG11v2", 24_652_420), ("VGG11v4", 41_424_516)]
)
def test_published_imagenet_checkpoint(vgg_type: str, published: int) -> None:
    options = {**IMAGENET, "vgg_type": vgg_type}
    assert count("vggkagn", num_classes=1000, **options) == published


def test_published_imagenet_checkpoint_of_bottlenecks() -> None:
    options = {**IMAGENET, "vgg_type": "VGG11v4", "norm": "batch"}
    assert count("vggkagn_bn", num_classes=1000, **options) == 7_252_115


@pytest.mark.filterwarnings("ignore:an instance norm at the output")
@pytest.mark.parametrize("name", RESIDUAL_AND_DENSE)
def test_residual_and_dense_networks(name: str) -> None:
    """Published counts hold centres of radial functions, and gates that nothing reads."""
    published = reskanet.PUBLISHED | densekanet.PUBLISHED
    with torch.device("meta"):
        model = create_model(name, num_classes=10, input_channels=3, **published[name])
    dead = 0
    for module in model.modules():
        if isinstance(module, RBF):
            dead += module.num_functions
        if isinstance(module, Bottleneck) and isinstance(module.inner, MixtureOfExperts):
            dead += 2 * module.inner.channels * module.inner.num_experts
    assert sum(p.numel() for p in model.parameters()) == RESIDUAL_AND_DENSE[name] - dead


def test_every_published_residual_and_dense_network_is_counted() -> None:
    assert set(RESIDUAL_AND_DENSE) == set(reskanet.PUBLISHED | densekanet.PUBLISHED)
