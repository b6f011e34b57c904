"""Rows of bases against the classes they stand for."""

import inspect

import pytest

from conv_kan import bases
from conv_kan.bases import BASES, Basis, basis_options, basis_squashes, create_basis
from conv_kan.bases.rows import ROWS


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_arguments_of_the_constructor(name):
    parameters = inspect.signature(BASES[name]).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert basis_options(name) == defaults
    assert list(basis_options(name)) == list(defaults)  # tables show them in this order
    assert issubclass(BASES[name], Basis) and BASES[name].__name__ == ROWS[name].cls


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_squashes_of_the_class(name):
    assert basis_squashes(name) == BASES[name].squashes
    for squash in basis_squashes(name):
        create_basis(name, squash=squash)


def test_every_class_is_exported():
    assert {row.cls for row in ROWS.values()} < set(bases.__all__)
