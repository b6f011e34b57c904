"""Volumes of all kinds reach a batch as the voxels that they hold, and files in any orientation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from experiments.config.compose import load_config
from experiments.config.schema import Config
from experiments.data import EvaluationLoader, describe_images
from experiments.data.admit import admit
from experiments.data.mask_transforms import mask_recipe
from experiments.data.volumes import read_volume
from experiments.errors import DataError

VOXELS = np.random.default_rng(0).integers(0, 65536, (6, 1, 4, 4, 4)).astype(np.uint16)


@dataclass
class Volumes:
    """A dataset of somebody's own, whose items are read one by one."""

    voxels: Any
    ndim: int = 3
    classes: tuple[str, ...] = ("dark", "bright")

    def __len__(self) -> int:
        return len(self.voxels)

    def __getitem__(self, index: int) -> tuple[Any, torch.Tensor]:
        return self.voxels[index], torch.zeros(4, 4, 4, dtype=torch.uint8)


@cache
def settings() -> Config:
    return load_config("segmentation", ["data.image_size=null", "trainer.batch_size=2"])


def batch_of(voxels: Any) -> tuple[torch.Tensor, Any]:
    """The batch that reaches a network, and what is known of the volumes."""
    config = settings()
    parts = admit((Volumes(voxels),) * 3, config)
    info = describe_images(parts.train, config.data)
    loader = EvaluationLoader(parts.test, mask_recipe(info), batch_size=6, rank=0, world_size=1)
    ((images, _),) = list(loader)
    return images, info


@pytest.mark.parametrize("kind", ["uint16", "array", "float64", "float16", "uint8"])
def test_volumes_of_a_kind_are_the_voxels_that_they_hold(kind: str) -> None:
    unit = VOXELS / 65535
    given: dict[str, Any] = {
        "uint16": torch.from_numpy(VOXELS),
        "array": VOXELS,
        "float64": torch.from_numpy(unit),
        "float16": torch.from_numpy(unit).half(),
        "uint8": torch.from_numpy((VOXELS // 257).astype(np.uint8)),
    }
    near = {"float16": 1e-3, "uint8": 2e-2}.get(kind, 1e-5)
    images, info = batch_of(given[kind])
    found = images.double() * info.std[0] + info.mean[0]
    assert images.dtype == torch.float32
    torch.testing.assert_close(found, torch.from_numpy(unit), rtol=0, atol=near)
    assert info.mean[0] == pytest.approx(unit.mean(), abs=2e-2)


@pytest.mark.parametrize("voxels, words", [
    (torch.full((6, 1, 4, 4, 4), -3.0), "train image 0 .* from -3 to -3: floats must lie in"),
    (torch.full((6, 1, 4, 4, 4), 700), r"range is not known: give image.to\(torch.uint16"),
    (torch.full((6, 1, 4, 4, 4), float("nan")), "64 of 64 values NaN or infinite"),
])  # fmt: skip
def test_voxels_of_unknown_range_are_a_sentence(voxels, words: str) -> None:
    with pytest.raises(DataError, match=words):
        batch_of(voxels)


@pytest.mark.parametrize("voxels, words", [
    (VOXELS[:, 0], r"is an array of shape \(4, 4, 4\): .* give volume\[None\] if its axes are"),
    (torch.zeros(6, 4, 4, 4), r"the image has no axis of channels, give image\[None\]"),
    ([[7]] * 6, "is of type list: of a dataset with ndim = 3 the items are .volume, mask."),
])  # fmt: skip
def test_what_is_no_volume_is_a_sentence(voxels, words: str) -> None:
    with pytest.raises(DataError, match=words):
        batch_of(voxels)


@pytest.mark.parametrize("sizes, options, words", [
    (4, {"image_size": 64}, "the volumes have sides of 4, .* type data.image_size=4"),
    (4, {"image_size": [4, 6]}, "volumes are cubes; type one number"),
    (4, {"channels": 3}, r"the volumes have 1 channel\(s\), .* type data.channels=null"),
    ((4, 5, 4), {}, "the volumes are 4 x 5 x 4: none is resized; give cubes"),
    (None, {}, "the volumes are of several sizes: none is resized; give cubes"),
])  # fmt: skip
def test_volumes_of_other_sides_are_refused_before_work_starts(sizes, options, words) -> None:
    sides = [4, 5] if sizes is None else [sizes] * 2
    voxels = [torch.rand(1, *((s, s, s) if isinstance(s, int) else s)) for s in sides]
    with pytest.raises(DataError, match=words):
        describe_images(Volumes(voxels), replace(settings().data, **options))


# ------------------------------------------------------------------------------------------- files
ORIENTATIONS = [
    "".join(ends[flip] for ends, flip in zip(order, flips, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for flips in product((0, 1), repeat=3)
]


def stored(array: np.ndarray, codes: str, path: Path) -> np.ndarray:
    """Write (x, y, z) of orientation RAS as a file of another one; return the array in the file."""
    turns = nibabel.orientations
    there = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.axcodes2ornt(codes))
    turned = turns.apply_orientation(array, there)
    affine = np.diag([2.0, 3.0, 4.0, 1.0]) @ turns.inv_ornt_aff(there, array.shape)
    nibabel.save(nibabel.Nifti1Image(turned, affine), path)
    return turned


def test_a_file_in_any_orientation_is_the_voxels_of_mni152_and_its_mask_has_its_own(
    tmp_path: Path,
) -> None:
    array = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    expected = array.transpose(2, 1, 0)[:, ::-1]  # as experiments.data.brain turns the template
    assert len(set(ORIENTATIONS)) == 48
    for codes in ORIENTATIONS:
        path = tmp_path / f"{codes}.nii"
        in_file = stored(array, codes, path)
        volume = read_volume(path)
        assert np.array_equal(volume.voxels, expected), codes
        assert volume.spacing == (4.0, 3.0, 2.0), codes
        written = volume.write(expected + np.uint8(1), tmp_path / f"{codes}_mask")
        mask, given = nibabel.load(written), nibabel.load(path)
        assert written.name == f"{codes}_mask.nii.gz" and mask.get_data_dtype() == np.uint8
        assert np.array_equal(mask.dataobj, in_file + 1), codes
        assert np.array_equal(mask.affine, given.affine) and mask.dataobj.slope == 1


def test_channels_of_a_file_come_first_and_scaled_integers_are_floats(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "four.nii.gz")
    volume = read_volume(tmp_path / "four.nii.gz")
    assert np.array_equal(volume.voxels, array.transpose(3, 2, 1, 0)[:, :, ::-1])
    path = volume.write(np.ones((5, 3, 2), np.uint16), tmp_path / "mask")
    assert nibabel.load(path).shape == (2, 3, 5)
    image = nibabel.Nifti1Image(array[..., 0], np.eye(4))
    image.header.set_slope_inter(1 / 255, 0)  # with it nibabel writes the integers as they are
    nibabel.save(image, tmp_path / "scaled.nii")
    scaled = read_volume(tmp_path / "scaled.nii").voxels
    expected = array[..., 0].transpose(2, 1, 0)[:, ::-1] / np.float32(255)
    assert scaled.dtype == np.float32 and scaled.max() <= 1
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_nibabel_is_named_where_it_is_absent(tmp_path: Path, monkeypatch) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a.nii")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="nibabel, which is not installed: type python -m pip inst"):
        read_volume(tmp_path / "a.nii")
