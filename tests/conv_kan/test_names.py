"""Names are known without torch, and name what there is."""

from conv_kan import names
from conv_kan.ops.maths import activations, wavelets


def test_names_are_those_of_the_functions():
    assert tuple(activations.ACTIVATIONS) == names.ACTIVATIONS
    assert tuple(activations.SQUASHES) == names.SQUASHES
    assert tuple(wavelets.WAVELETS) == names.WAVELETS
