"""Parameters of the published networks, made by their published calls, from their tables."""

import re
from collections.abc import Iterable

import pytest
import torch

from conv_kan.bases.rbf import RBF
from conv_kan.layers import Bottleneck, MixtureOfExperts
from models import create_model, published
from models.complexity import count_parameters

FOUR, EIGHT = (32, 64, 128, 256), (16, 32, 64, 128, 256, 256, 512, 512)
BASELINES = {  # kan head, linear head
    "SimpleConvKAN": (3_515_449, 3_494_958),
    "SimpleFastConvKAN": (3_515_480, 3_494_480),
    "SimpleConvKALN": (1_953_460, 1_943_210),
    "SimpleConvKACN": (1_562_944, 1_555_274),
    "SimpleConvKAGN": (1_953_480, 1_943_226),
    "SimpleConvWavKAN": (960_340, 952_650),
    "SimpleMoEConvKAGNBN": (3_543_457, 3_533_203),
    "EightSimpleConvKAN": (40_737_581, 40_696_610),
    "EightSimpleFastConvKAN": (40_737_640, 40_695_648),
    "EightSimpleConvKALN": (22_633_572, 22_613_082),
    "EightSimpleConvKACN": (18_107_552, 18_092_202),
    "EightSimpleConvKAGN": (22_633_608, 22_613_114),
    "EightSimpleConvWavKAN": (10_747_572, 10_732_202),
    "EightSimpleMoEConvKAGNBN": (29_357_537, 29_337_043),
}
TWINS = {"SimpleConv": 391_946, "EightSimpleConv": 4_531_338}
VGGS = {
    "vggkan": 5_250_626,
    "fast_vggkan": 3_521_362,
    "vggkaln": 2_944_890,
    "vggkagn": 2_944_922,
    "vggkacn": 2_368_458,
    "vgg_wav_kan": 1_418_698,
    "vggkagn_bn": 723_799,
    "moe_vggkagn": 23_114_078,
    "moe_vggkagn_bn": 1_179_163,
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
# Residual and dense networks.
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
U_NETWORKS = {
    "ukanet_18": 2_094_841,
    "fast_ukanet_18": 1_397_187,
    "ukalnet_18": 1_164_402,
    "ukagnet_18": 1_164_558,
    "ukacnet_18": 931_802,
    "ukagnetnb_18": 431_699,
    "u2kagnet": 13_779_758,
    "u2kagnet_bn": 3_678_763,
    "u2kalnet": 13_779_310,
    "u2kacnet": 11_031_934,
    "u2kanet": 24_768_926,
    "fast_u2kanet": 16_530_052,
    "u2net": 2_793_406,
    "u2kagnet_small": 362_542,
    "u2kagnet_bn_small": 262_971,
    "u2kalnet_small": 362_094,
    "u2kacnet_small": 291_822,
    "u2kanet_small": 643_294,
    "fast_u2kanet_small": 433_420,
    "u2net_small": 81_718,
}
# Arguments of UKAGNet, and parameters in bottlenecks and without, for one class.
UKAGNETS: list[tuple[dict[str, object], tuple[int, int | None]]] = [
    ({}, (788_982, 2_434_361)),
    ({"mixer_type": "self-att"}, (2_510_493, 8_968_928)),
    ({"mixer_type": "focal"}, (1_241_132, 3_468_983)),
    ({"unet_depth": 5}, (3_043_334, None)),
]
# Of the code of U-KAN at its defaults.
UKAN = 25_359_265
# is_bottleneck: True, False
RDNET = {
    "kagrdnet_tiny": (23_172_899, 28_572_727),
    "kagrdnet_small": (203_574_444, 245_358_684),
    "kagrdnet_base": (354_341_920, 427_822_480),
    "kagrdnet_large": (768_329_366, 920_351_862),
}


def count(name: str, *arguments: object, **options: object) -> int:
    """Parameters of a network, with what only published ones hold.

    There, centres of radial functions are parameters, and mixtures in bottlenecks have gates
    that nothing reads.
    """
    with torch.device("meta"):
        model = published.get_published(name)(*arguments, **options)
    found = sum(parameter.numel() for parameter in model.parameters())
    for module in model.modules():
        if isinstance(module, RBF):
            found += module.num_functions
        if isinstance(module, Bottleneck) and isinstance(module.inner, MixtureOfExperts):
            found += 2 * module.inner.channels * module.inner.num_experts
    return found


@pytest.mark.parametrize("name", BASELINES)
def test_baseline(name: str) -> None:
    sizes = EIGHT if name.startswith("Eight") else FOUR
    assert (count(name, sizes, 10, 3), count(name, sizes, 10, 3, degree_out=1)) == BASELINES[name]


@pytest.mark.parametrize("name", TWINS)
def test_plain_baseline(name: str) -> None:
    assert count(name, EIGHT if name.startswith("Eight") else FOUR, 10, 3) == TWINS[name]


@pytest.mark.filterwarnings("ignore:an instance norm at the output")
@pytest.mark.parametrize("name", VGGS)
def test_vgg(name: str) -> None:
    assert count(name, 3, 10) == VGGS[name]


@pytest.mark.parametrize("vgg_type", VGGKAGN_SIZES)
def test_vgg_size_table(vgg_type: str) -> None:
    shape = {"vgg_type": vgg_type, "expected_feature_shape": (1, 1)}
    counts = [count(name, 3, 10, **shape) for name in ("vggkagn", "VGGKAGN_BN")]
    assert counts == list(VGGKAGN_SIZES[vgg_type])


@pytest.mark.parametrize(
    ("name", "vgg_type", "norm", "wanted"),
    [
        ("VGGKAGN", "VGG11v2", torch.nn.InstanceNorm2d, 24_652_420),
        ("VGGKAGN", "VGG11v4", torch.nn.InstanceNorm2d, 41_424_516),
        ("VGGKAGN_BN", "VGG11v4", torch.nn.BatchNorm2d, 7_252_115),
    ],
)
def test_published_imagenet_checkpoints(name: str, vgg_type: str, norm: type, wanted: int) -> None:
    """All arguments by position."""
    start, end = (3, 1000, 1, 5, 0.0, 0, 0.25), ("Linear", (1, 1), 2, True, norm)
    assert count(name, *start, vgg_type, *end) == wanted


def with_slow_depths(names: Iterable[str]) -> list[object]:
    """The names; the deepest, whose rows differ from others in numbers of layers, are slow."""
    deep = re.compile("101|152|161|169|201")
    return [pytest.param(n, marks=[pytest.mark.slow] if deep.search(n) else []) for n in names]


@pytest.mark.filterwarnings("ignore:an instance norm at the output")
@pytest.mark.parametrize("name", with_slow_depths(RESIDUAL_AND_DENSE))
def test_residual_and_dense_networks(name: str) -> None:
    assert count(name, 3, 10) == RESIDUAL_AND_DENSE[name]


@pytest.mark.parametrize("name", RDNET)
def test_rdnet(name: str) -> None:
    assert (count(name, 3, 10), count(name, 3, 10, False)) == RDNET[name]


@pytest.mark.filterwarnings("ignore:an instance norm at the output")
@pytest.mark.parametrize("name", U_NETWORKS)
def test_u_networks(name: str) -> None:
    assert count(name, 3, 10) == U_NETWORKS[name]


@pytest.mark.parametrize(("arguments", "wanted"), UKAGNETS)
def test_ukagnet(arguments: dict[str, object], wanted: tuple[int, int | None]) -> None:
    for use_bottleneck, number in zip((True, False), wanted, strict=True):
        if number is not None:
            assert count("UKAGNet", use_bottleneck=use_bottleneck, **arguments) == number


def test_ukan() -> None:
    with torch.device("meta"):
        model = create_model("ukan", num_classes=1, input_channels=3)
    assert count_parameters(model) == UKAN


def test_every_published_network_is_counted() -> None:
    """But for the classes whose functions are."""
    counted = {*BASELINES, *TWINS, *VGGS, *RESIDUAL_AND_DENSE, *RDNET, *U_NETWORKS, "UKAGNet"}
    rest = {name for name in published.list_published() if name not in counted}
    classes = {"VGGKAN", "FastVGGKAN", "VGGKALN", "VGGKACN", "VGGKAGN", "VGGKAGN_BN", "MoEVGGKAGN"}
    classes |= {"MoE_VGGKAGN_BN", "WavVVGKAN", "AutoKAN", "TinyAutoKAGN"}
    assert rest <= classes
