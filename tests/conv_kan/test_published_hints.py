"""What is said of published attributes and names that are elsewhere here."""

from operator import attrgetter

import pytest
from published_samples import make

from conv_kan import published
from conv_kan.published.attributes import ATTRIBUTES, find_attribute
from conv_kan.published.elsewhere import find_elsewhere

# name -> attribute -> path of what stands there.
HINTS = {
    "KAGNConv2DLayer": {
        "inputdim": "c_in",
        "outdim": "c_out",
        "degree": "basis.degree",
        "groups": "geometry.groups",
        "kernel_size": "geometry.kernel_size",
        "poly_weights": "basis_weight",
        "beta_weights": "basis.beta",
        "base_conv": "base_weight",
        "layer_norm": "norm",
        "gram_poly": "basis.functions",
        "forward_kag": "branches",
    },
    "BottleNeckKAGNConv1DLayer": {"degree": "inner.basis.degree", "inner_proj": "squeeze"},
    "WavKANConv3DLayer": {"wavelet_type": "wavelet", "wavelet_conv": "wavelet_weight"},
    "KANLayer": {"grid": "basis.knot", "spline_order": "basis.order"},
    "mlp_kagn": {"layers_hidden": "layers", "polynomial_order": "layers.0.basis.degree"},
    "KANvolver": {"poly_weights": "head.0.poly.basis_weight"},
    "MoEKAGNConv2DLayer": {
        "experts": "layer.experts",
        "k": "layer.k",
        "w_gate": "layer.gate_weight",
    },
    "MoEBottleNeckKAGNConv2DLayer": {"num_experts": "layer.inner.num_experts"},
    "RoPEBottleNeckSelfKAGNtention2D": {"freqs": "rope.frequencies", "input_dim": "channels"},
    "KAGNFocalModulation2D": {"focal_level": "levels", "dim": "channels"},
    "KANLinear": {"b_splines": "edge_functions", "curve2coeff": "update_grid"},
    "KAT_Group": {"num_groups": "denominator.shape", "weight_numerator": "numerator"},
    "RadialBasisFunction": {"grid": "basis.centres", "denominator": "basis.width"},
}


@pytest.mark.parametrize("name", HINTS)
@pytest.mark.filterwarnings("ignore:an instance norm")
def test_attributes_of_published_layers_are_told_where_they_are(name):
    layer, _ = make(name)
    for attribute, path in HINTS[name].items():
        with pytest.raises(
            AttributeError, match=rf"attribute '{attribute}'; .* is in \.{path} here"
        ):
            getattr(layer, attribute)
        assert not hasattr(layer, attribute)
        attrgetter(path)(layer)


@pytest.mark.filterwarnings("ignore:an instance norm")
def test_no_row_of_attributes_is_idle():
    """Each is found in some layer."""
    layers = [make(name)[0] for name in HINTS] + [
        make(name)[0]
        for name in ("KAJNConv2DLayer", "ReLUKANConv2DLayer", "FastKANLayer", "EfficientKAN")
    ]
    found = {key for key in ATTRIBUTES for layer in layers if find_attribute(layer, key)}
    assert found == set(ATTRIBUTES)


def test_other_attributes_are_missing_as_before():
    layer, _ = make("KAGNConv2DLayer")
    for attribute in ("nothing", "spline_order"):  # a Gram layer has no splines
        with pytest.raises(AttributeError, match=f"has no attribute '{attribute}'$"):
            getattr(layer, attribute)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vggkagn", "networks are made by models.published.vggkagn"),
        ("EightSimpleConvKAGN", "made by models.published.EightSimpleConvKAGN"),
        ("reskagnet_18x32p", "made by models.published.reskagnet_18x32p"),
        ("u2kagnet", "networks are made by models.published.u2kagnet"),
        ("vggkagm", "did you mean 'vggkagn'[?] Then networks are made by models.published.vggkagn"),
        ("L1", "penalty.l1_decay of a run"),
        ("KAGNConvNDLayer", r"conv_kan.KANConv\("),
        ("MatryoshkaHead", "models.heads.MatryoshkaHead"),
        ("KAGNConv2DLayr", "did you mean 'KAGNConv2DLayer'[?] See"),
    ],
)
def test_names_that_live_elsewhere(name, words):
    with pytest.raises(AttributeError, match=words):
        getattr(published, name)
    with pytest.raises(ValueError, match=words):
        published.get_published(name)


def test_no_published_name_is_said_to_be_elsewhere():
    assert not [name for name in published.list_published() if find_elsewhere(name)]
