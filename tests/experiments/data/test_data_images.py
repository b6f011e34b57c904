"""Which pixels are admitted, and that none of them is rescaled, cut or turned by a guess."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from generated_data import write_deep_png
from PIL import Image

from experiments.data.images import DeepColour, admit_image, is_deep, open_image
from experiments.data.pixels import channels_of, to_tensor
from experiments.errors import DataError

RAMP = torch.linspace(0, 1, 48).reshape(3, 4, 4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (RAMP * 255, r"float32 \(3, 4, 4\) from 0 to 255: .* image / 255"),
        (RAMP * 2 - 1, r"from -1 to 1: .*\(image \+ 1\) / 2"),
        (RAMP * 4095, r"from 0 to 4095: .*image / 4095 \(12 bits\)"),
        (RAMP * 1.005, r"from 0 to 1.005: .*image.clamp\(0, 1\)"),
        (RAMP * 6 - 3, r"from -3 to 3: .*\(image - low\) / \(high - low\)"),
        ((RAMP * 255).half(), r"float16 .* image / 255"),
        ((RAMP * 255).long(), r"int64 .* from 0 to 255.*image.to\(torch.uint8\)"),
        ((RAMP * 4095).int(), r"int32 .* from 0 to 4095.*image.to\(torch.uint16\)"),
        ((RAMP * 9 - 5).short(), r"int16 .* from -5 to 4.*\(image - low\)"),
        (RAMP > 0.5, r"bool .*image.float\(\)"),
        (RAMP.where(RAMP < 1, torch.nan), r"1 of 48 values NaN or infinite"),
        (RAMP / 0, r"48 of 48 values NaN or infinite"),
    ],
)
def test_tensors_whose_range_must_be_guessed_are_refused(image, said) -> None:
    with pytest.raises(DataError, match=said):
        admit_image(image, "white")


def test_tensors_of_known_range_keep_their_depth() -> None:
    eight = (RAMP * 255).to(torch.uint8)
    assert admit_image(eight, "white") is eight and admit_image(RAMP, "white") is RAMP
    deep = torch.arange(48).reshape(3, 4, 4).to(torch.uint16)
    expected = torch.arange(48).reshape(3, 4, 4).double() / 65535
    assert torch.equal(admit_image(deep, "white"), expected.float())
    assert admit_image(RAMP.half(), "white").dtype == torch.float32
    assert is_deep(admit_image(deep, "white")) and not is_deep(eight) and not is_deep(eight / 255)


def test_what_is_no_image_is_left_to_its_task() -> None:
    signal = torch.full((2, 9), -7.0)
    assert admit_image(signal, "white") is signal and admit_image("text", "white") == "text"


# -------------------------------------------------------------------------------------- depth
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_files_of_16_bits_keep_every_value(tmp_path, channels) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (5, 6, channels))
    path = write_deep_png(tmp_path / "deep.png", values)
    expected = (torch.from_numpy(values).double() / 65535).float().permute(2, 0, 1)
    assert torch.equal(admit_image(open_image(path), "keep")[:channels], expected)
    lazy = admit_image(Image.open(path), "white")  # what a dataset of one's own may give
    assert lazy.shape == (1 if channels < 3 else 3, 5, 6)
    if channels in (2, 4):
        assert isinstance(open_image(path), DeepColour)
        laid = expected[:-1] * expected[-1:] + (1 - expected[-1:])
        assert torch.equal(lazy, laid)


@pytest.mark.parametrize("dtype", [">u2", "<u2"])
def test_grey_16_bits_in_tiff_and_either_byte_order(tmp_path, dtype) -> None:
    values = np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000
    mode = "I;16B" if dtype == ">u2" else "I;16"
    image = Image.frombytes(mode, (5, 4), values.astype(dtype).tobytes())
    assert torch.equal(admit_image(image, "white")[0], torch.from_numpy(values / 65535).float())


def test_a_pgm_of_12_bits_opens_with_32_and_keeps_its_range(tmp_path) -> None:
    values = np.arange(20).reshape(4, 5) * 200
    (tmp_path / "a.pgm").write_bytes(b"P5 5 4 4095\n" + values.astype(">u2").tobytes())
    image = admit_image(open_image(tmp_path / "a.pgm"), "white")
    assert torch.allclose(image[0].double(), torch.from_numpy(values / 4095), atol=1e-5)


def test_colour_of_16_bits_that_pillow_would_cut_is_refused(tmp_path) -> None:
    values = np.arange(60).reshape(4, 5, 3) * 200
    (tmp_path / "a.ppm").write_bytes(b"P6 5 4 65535\n" + values.astype(">u2").tobytes())
    with pytest.raises(DataError, match=r"16 bits a channel .* PPM files: save it as a PNG"):
        open_image(tmp_path / "a.ppm")


def test_float_files_follow_the_rule_of_float_tensors() -> None:
    values = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
    assert torch.equal(admit_image(Image.fromarray(values), "white")[0], torch.from_numpy(values))
    with pytest.raises(DataError, match=r"0 to 255: .*image / 255.*mode F.*8 or 16 bits"):
        admit_image(Image.fromarray(values * 255), "white")
    with pytest.raises(DataError, match=r"int32 .*mode I.*8 or 16 bits"):
        admit_image(Image.fromarray((values * 255).astype(np.int32)), "white")


# ------------------------------------------------------------------------- orientation and alpha
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_viewers_turn_them(tmp_path, orientation) -> None:
    turn = {
        1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
        6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
    }[orientation]  # fmt: skip
    upright = Image.fromarray(np.arange(240, dtype=np.uint8).reshape(10, 24))
    stored = upright if turn is None else upright.transpose(Image.Transpose[turn])
    exif = Image.Exif()
    exif[0x112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    image = admit_image(open_image(tmp_path / "a.png"), "white")
    assert np.array_equal(np.asarray(image), np.asarray(upright))


def shaped(mode: str) -> Image.Image:
    """One colour, half of it transparent, in each way that Pillow has of saying so."""
    alpha = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 4, 0).repeat(2, 1))
    if mode in ("LA", "RGBA"):
        image = Image.new(mode[:-1], (4, 4))
        image.putalpha(alpha)
        return image
    image = Image.fromarray(np.repeat(np.array([[1, 0]], np.uint8), 4, 0).repeat(2, 1))
    if mode == "P":
        image.putpalette([0, 0, 0, 0, 0, 0])
    image = image.convert(mode)
    image.info["transparency"] = (1, 1, 1) if mode == "RGB" else 1
    return image


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB"])
def test_a_shape_in_transparency_is_seen_on_its_background(mode) -> None:
    image = admit_image(shaped(mode), "white")
    channels = 1 if mode in ("L", "LA") else 3
    assert channels_of(image) == channels
    pixels = to_tensor(image, channels)
    assert (pixels[..., :2] == 255).all() and (pixels[..., 2:] == 0).all()
    kept = admit_image(shaped(mode), "keep")
    assert channels_of(kept) == channels + 1
    alpha = to_tensor(kept, channels + 1)[-1]
    assert (alpha[:, :2] == 0).all() and (alpha[:, 2:] == 255).all()
    assert to_tensor(kept, 4).shape == (4, 4, 4)


def test_opaque_images_do_not_change_and_gain_a_channel_only_if_asked() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert admit_image(image, "black") is image
    opaque = image.copy()
    opaque.putalpha(255)
    assert np.array_equal(np.asarray(admit_image(opaque, "white")), noise)
    assert (to_tensor(admit_image(image, "keep"), 4)[3] == 255).all()
    with pytest.raises(DataError, match=re.escape("data.channels=3: an image has 4 channel")):
        to_tensor(admit_image(image, "keep"), 3)


# ----------------------------------------------------------------------------------- to a tensor
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode_becomes_the_wanted_channels(mode, channels) -> None:
    image = admit_image(Image.new("RGB", (5, 4), (200, 200, 200)).convert(mode), "white")
    tensor = to_tensor(image, channels)
    assert tensor.shape == (channels, 4, 5) and tensor.dtype == torch.uint8
    expected = 255 if mode == "1" else 200  # dithering leaves mostly white
    assert abs(int(tensor.median()) - expected) <= 4  # the palette's nearest entry is 204
    assert channels_of(image) == (1 if mode in ("1", "L", "LA") else 3)


def test_arrays_are_refused_with_the_way_to_a_tensor() -> None:
    with pytest.raises(DataError, match=re.escape("torch.from_numpy(image).permute(2, 0, 1)")):
        channels_of(np.zeros((4, 5, 3), np.uint8))
