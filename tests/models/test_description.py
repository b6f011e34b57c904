"""A description survives its file, and what is none is refused in words."""

import json
from dataclasses import replace
from typing import Any

import pytest

from models.description import Description, Preprocessing

IMAGES = Preprocessing(224, 256, "bilinear", (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
WHOLE = Description(
    "vggkagn", {"degree": 5, "feature_shape": (1, 1), "head_activation": None}, 3, 3,
    (3, 224, 224), "classification", ("cat", "$_$", "日本"), IMAGES,
)  # fmt: skip


def test_a_description_survives_json() -> None:
    again = Description.from_dict(json.loads(json.dumps(WHOLE.to_dict())))
    assert again.to_dict() == WHOLE.to_dict()
    assert again.preprocessing == IMAGES and again.class_names == WHOLE.class_names
    plain = Description("kan", {}, 1, 2, (2, 64), "number")
    assert Description.from_dict(plain.to_dict()) == plain


def test_stretching_is_written_where_it_is_done_and_nowhere_else() -> None:
    """Earlier versions of the format, and the bits of their files, know no such key."""
    assert "stretch" not in WHOLE.to_dict()["preprocessing"]
    stretched = replace(WHOLE, preprocessing=replace(IMAGES, stretch=True))
    again = Description.from_dict(json.loads(json.dumps(stretched.to_dict())))
    assert again.preprocessing is not None and again.preprocessing.stretch


def test_volumes_are_cubes_that_nothing_is_done_to() -> None:
    rule = Preprocessing(32, 32, "bilinear", (0.5,), (0.1,), ndim=3)
    told = Description("unet", {"ndim": 3}, 3, 1, (1, 32, 32, 32), "segmentation", (), rule)
    again = Description.from_dict(json.loads(json.dumps(told.to_dict()))).preprocessing
    assert again == rule and rule.window == 32
    assert IMAGES.window is None and "ndim" not in WHOLE.to_dict()["preprocessing"]
    for wrong in ({"stretch": True}, {"resize": 40}, {"ndim": 4}, {"size": (32, 32)}):
        with pytest.raises(ValueError, match="ndim is 2 or 3, and volumes are cubes of one size"):
            replace(rule, **wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": None}, "lacks model"),
        ({"colour": 1}, "has colour"),
        ({"num_classes": "3"}, "num_classes='3', which is no int"),
        ({"class_names": [1]}, "class_names=[1]"),
        ({"format": 2}, "format 2; this version reads format 1"),
        ({"preprocessing": {**WHOLE.to_dict()["preprocessing"], "stretch": 1}}, "stretch=1"),
        ({"preprocessing": {"size": 224}}, "lacks interpolation, mean, resize, std"),
        ({"preprocessing": {**WHOLE.to_dict()["preprocessing"], "resize": 2}}, "size <= resize"),
        ({"preprocessing": {**WHOLE.to_dict()["preprocessing"], "mean": [0.5]}}, "1 means and 3"),
    ],
)
def test_what_is_no_description_is_refused(change: dict[str, Any], words: str) -> None:
    values = {key: value for key, value in (WHOLE.to_dict() | change).items() if value is not None}
    with pytest.raises(ValueError) as caught:
        Description.from_dict(values)
    assert words in str(caught.value)


def test_a_description_is_a_table() -> None:
    with pytest.raises(ValueError, match="is a table, not list"):
        Description.from_dict([])  # type: ignore[arg-type]
