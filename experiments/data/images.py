"""What an image may be, for files, PIL images and tensors alike: the pixels that are admitted.

Pixels whose range is known go on as they are: 8-bit images in 8 bits, deeper ones as float32 in
[0, 1]. Whatever would have to be guessed is refused with the conversion to type.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from experiments.data.arrays import as_picture, looks_turned
from experiments.errors import DataError

GREY_MODES = ("1", "L", "LA", "La")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
KEEP = "keep"  # of data.alpha; the other choices are the background's colour
_ORIENTATION = 0x112  # the EXIF tag
_DEEP_RAW = re.compile(r";16[BLNS]")  # of Pillow's raw modes; "BGR;16" has 5 or 6 bits a colour
_DEEP_FORMATS = ("PNG", "PPM")  # whose mode "I" is 16 bits by their definition


class DeepColour(NamedTuple):
    """A file of 16 bits a channel in several channels, which no PIL image can hold.

    Shape: pixels (C, H, W) uint16; with `alpha` the last channel is one.
    """

    pixels: Tensor
    alpha: bool


def open_image(source: str | Path | BinaryIO) -> Image.Image | DeepColour:
    """Decode a file at its full depth; the first picture of one that holds several."""
    with Image.open(source) as image:
        if _loses_depth(image):
            return _decode_deep(image, source)
        image.load()
    return image


def admit_image(image: Any, alpha: str) -> Any:
    """Return an image as the platform goes on with it; what is no image comes back as it is.

    8 bits: a uint8 tensor or a PIL image. Deeper: a float32 tensor in [0, 1], of 16-bit values v
    as v / 65535. PIL images are turned as their EXIF tag says. alpha: the background on which
    images with transparency are laid, or "keep", which gives every PIL image an alpha channel.

    Shapes: tensors (C, H, W) and arrays of numpy (H, W), (H, W, C) or (C, H, W) are images; those
    of another rank are not touched.

    Raises: DataError for pixels of unknown range, and for shapes that do not tell which axis holds
        the channels -> what was found and what to type.
    """
    if isinstance(image, Image.Image) and _loses_depth(image):
        image = _decode_deep(image, getattr(image, "filename", "") or None)
    if isinstance(image, DeepColour):
        pixels = image.pixels.to(torch.float32) / 65535
        return _lay_tensor(pixels, pixels[-1:] if image.alpha else None, alpha)
    if isinstance(image, Image.Image):
        return _admit_pil(image, alpha)
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        image = as_picture(image)
    return admit_tensor(image) if isinstance(image, Tensor) and image.ndim == 3 else image


def admit_tensor(image: Tensor) -> Tensor:
    """Return uint8 as it is, uint16 and floats in [0, 1] as float32.

    Raises: DataError for every other type and range, and for what holds no pixels.
    """
    _require_pixels(image)
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.uint16:
        return image.to(torch.float32) / 65535
    if image.dtype.is_floating_point:
        require_unit_range(image)
        return (image.detach() if image.requires_grad else image).to(torch.float32)
    if image.dtype == torch.bool:
        raise DataError(f"{_is(image)}: the rule is uint8 or [0, 1]; give image.float()")
    if image.dtype.is_complex:
        raise DataError(f"{_is(image)}: give real numbers in [0, 1], for example image.abs()")
    low, high = _ends(image.long())
    fits = "uint8" if low >= 0 and high <= 255 else "uint16" if 0 <= low <= high < 65536 else ""
    way = (
        f"image.to(torch.{fits}) if the full range of the data is that of {fits}"
        if fits
        else "(image - low) / (high - low) with the ends of your data's range"
    )
    raise DataError(
        f"{_is(image)} from {low:g} to {high:g}, whose full range is not known: give {way}"
    )


def _require_pixels(image: Tensor) -> None:
    """Refuse tensors without values in this memory, and axes in another order. Raises: DataError"""
    shape = tuple(image.shape)
    if image.layout != torch.strided:
        raise DataError(f"is a sparse tensor of shape {shape}: give image.to_dense()")
    if image.device.type != "cpu":
        raise DataError(
            f"is a tensor on {image.device}: give image.cpu(); batches are moved where the model is"
        )
    if not image.numel():
        raise DataError(f"has no pixels, its shape is {shape}: leave it out")
    if looks_turned(shape):
        raise DataError(
            f"is a tensor of shape {shape}, with its channels last: give image.permute(2, 0, 1), "
            "(C, H, W)"
        )


def require_unit_range(image: Tensor) -> None:
    """Refuse float pixels outside [0, 1]. Raises: DataError -> the range found, and what to type"""
    if not image.numel():
        return
    low, high = (float(end) for end in image.aminmax())  # NaN passes through both
    if low >= 0 and high <= 1:
        return
    finite = image[image.isfinite()]
    if finite.numel() < image.numel():
        bad = image.numel() - finite.numel()
        raise DataError(
            f"{_is(image)} with {bad} of {image.numel()} values NaN or infinite: mend the file or "
            "what computes the image (torch.nan_to_num(image) hides it)"
        )
    if low >= -0.01 and high <= 1.01:
        way = "image.clamp(0, 1)"
    elif low >= 0 and high <= 255:
        way = "image / 255 if the data are 0 to 255"
    elif low >= 0 and high <= 65535:
        way = "image / 65535 (16 bits) or image / 4095 (12 bits)"
    elif low >= -1 and high <= 1:
        way = "(image + 1) / 2 if the data are -1 to 1"
    else:
        way = "(image - low) / (high - low) with the ends of your data's range, once for all images"
    raise DataError(
        f"{_is(image)} from {low:.6g} to {high:.6g}: floats must lie in [0, 1]; give {way}"
    )


def is_deep(image: Tensor) -> bool:
    """Whether a tensor holds values between those of 8 bits, however those were scaled."""
    if image.dtype == torch.uint8:
        return False
    scaled = image * 255  # neighbours of 16 bits are 1 / 257 apart here
    return bool(((scaled - scaled.round()).abs() > 1e-3).any())


def _is(image: Tensor) -> str:
    return f"is {str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"


def _ends(image: Tensor) -> tuple[int, int]:
    return (int(image.min()), int(image.max())) if image.numel() else (0, 0)


# ------------------------------------------------------------------------------------- PIL images
def _admit_pil(image: Image.Image, alpha: str) -> Image.Image | Tensor:
    if not all(image.size):
        raise DataError(f"has no pixels, its size is {image.size}: leave it out")
    deep_file = image.format in _DEEP_FORMATS
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and deep_file):
        values = np.asarray(image).astype(np.float32) / np.float32(65535)
        return _lay_tensor(torch.from_numpy(values)[None], None, alpha)
    if image.mode in ("I", "F"):
        return _lay_tensor(_admit_wide(image), None, alpha)
    if alpha == KEEP:
        return image.convert("LA" if image.mode in GREY_MODES else "RGBA")
    return _lay_on(image, alpha) if image.has_transparency_data else image


def _admit_wide(image: Image.Image) -> Tensor:
    """32-bit pixels: floats by the rule for tensors, integers never."""
    pixels = torch.from_numpy(np.array(image))[None]
    try:
        return admit_tensor(pixels)
    except DataError as error:
        raise DataError(
            f"{error}. It is a picture of 32-bit pixels (mode {image.mode}): read it with "
            "numpy.asarray(image) in get_data, or save its file with 8 or 16 bits per channel"
        ) from error


def _lay_on(image: Image.Image, background: str) -> Image.Image:
    """Composite an image with transparency; grey stays grey."""
    mode = "L" if image.mode in GREY_MODES else "RGB"
    if image.mode == "La":  # Pillow knows no direct way from premultiplied grey
        image = image.convert("LA")
    layer = image.convert("RGBA")
    below = Image.new("RGBA", layer.size, background)
    return Image.alpha_composite(below, layer).convert(mode)


def _lay_tensor(pixels: Tensor, opacity: Tensor | None, alpha: str) -> Tensor:
    """The same for floats: c a + b (1 - a) with the background's colour b, or all channels kept.

    Shapes: pixels (C, H, W), whose last channel is the opacity (1, H, W) if there is one.
    """
    if alpha == KEEP:
        return pixels if opacity is not None else torch.cat([pixels, torch.ones_like(pixels[:1])])
    if opacity is None:
        return pixels
    return pixels[:-1] * opacity + {"white": 1.0, "black": 0.0}[alpha] * (1 - opacity)


def _loses_depth(image: Image.Image) -> bool:
    """Whether decoding, which is yet to come, would cut 16 bits a channel to 8."""
    if image.mode.startswith(("I", "F")):
        return False
    for codec, _, _, arguments in getattr(image, "tile", None) or ():
        if _DEEP_RAW.search(str(arguments)):
            return True
        maximum = arguments if isinstance(arguments, (tuple, list)) else (arguments,)
        if codec in ("ppm", "ppm_plain") and any(isinstance(v, int) and v > 255 for v in maximum):
            return True
    return False


def _decode_deep(image: Image.Image, source: str | Path | BinaryIO | None) -> DeepColour:
    if source is None or image.format != "PNG":
        raise DataError(
            f"has 16 bits a channel in colour, which Pillow cuts to 8 in {image.format} files: "
            "save it as a PNG file of 16 bits, or give tensors (C, H, W) of torch.uint16"
        )
    if isinstance(source, (str, Path)):
        encoded = Path(source).read_bytes()
    else:
        source.seek(0)
        encoded = source.read()
    content = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
    pixels = decode_image(content, ImageReadMode.UNCHANGED, apply_exif_orientation=True)
    return DeepColour(pixels, alpha="A" in image.mode)
