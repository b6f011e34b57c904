"""The examples of rational_kat_cu and their twins: what they compute, and what they refuse."""

import pytest
import torch
from torch.nn import functional as F

from conv_kan.ops.rational import group_rational
from models import create_model
from models.complexity import count_parameters


def test_the_perceptron_is_two_linear_layers_and_a_rational_function() -> None:
    torch.manual_seed(0)
    model = create_model("rational_mlp", num_classes=5, input_channels=2, image_size=4, hidden=16)
    model.double()
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    linear, rational = model.features[0]
    hidden = F.linear(x.flatten(1), linear.weight.flatten(1), linear.bias)
    hidden = group_rational(hidden, rational.numerator, rational.denominator, True)
    expected = F.linear(hidden, model.head.weight, model.head.bias)
    torch.testing.assert_close(model(x), expected)


def test_the_convolutions_stand_between_rational_functions_and_maxima() -> None:
    torch.manual_seed(0)
    model = create_model("rational_cnn", num_classes=5, input_channels=3, layer_sizes=[8, 16])
    model.double()
    x = y = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for conv, rational, _ in model.features:
        y = F.conv2d(y, conv.weight, conv.bias, padding=1)
        y = group_rational(y, rational.numerator, rational.denominator, False)
        y = F.max_pool2d(y, 2)
    first, _, last = model.head
    expected = last(first(y.flatten(1)).relu())
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_twin_has_all_parameters_but_the_coefficients(name: str) -> None:
    rational, plain = (
        count_parameters(create_model(n, num_classes=10, input_channels=1))
        for n in (f"rational_{name}", name)
    )
    assert rational - plain == (6 + 8 * 4) * {"mlp": 1, "cnn": 2}[name]


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(ValueError, match=r"groups=8 must divide the 20 channels .*\[1, 2, 4, 5"):
        create_model("rational_mlp", num_classes=5, input_channels=1, hidden=20)
    model = create_model("mlp", num_classes=5, input_channels=1)
    with pytest.raises(ValueError, match=r"images of 32x32: this network takes 28x28; .*size=32"):
        model(torch.zeros(1, 1, 32, 32))
