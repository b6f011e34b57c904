"""The program that runs an exported network without torch, and what it reads beside the network."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent

from experiments.files import atomic_path
from experiments.tasks.answers import Answers
from models.description import Description

TRANSFORM, PROGRAM, NETWORK = "transform.json", "run_onnx.py", "model.onnx"

# The same pixels as experiments.usage.transform, for images of 8 bits. Where an image is resized
# Pillow and torchvision may round a pixel to another of its two neighbours.
IMAGE_PROGRAM = '''\
"""Runs model.onnx on images of 8 bits: python run_onnx.py IMAGE...

Needs onnxruntime, numpy and Pillow. transform.json says how an image becomes an input.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

here = Path(__file__).resolve().parent
rule = json.loads((here / "transform.json").read_text(encoding="utf-8"))
pixels, channels = rule["preprocessing"], rule["input_channels"]
session = onnxruntime.InferenceSession(here / "model.onnx", providers=["CPUExecutionProvider"])


def load(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode[0] in "IF":
        sys.exit(f"{path} has more than 8 bits a pixel (mode {image.mode}): convert it first")
    alpha = pixels.get("alpha", "white")
    if image.has_transparency_data and alpha != "keep":
        below = Image.new("RGBA", image.size, alpha)
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])


def pair(size):
    return np.array([size, size] if isinstance(size, int) else size)


def resized(sides):
    """(height, width) of the image before it is cropped, or before there is a border around it."""
    size, resize = pair(pixels["size"]), pixels["resize"]
    if pixels.get("stretch"):
        return size
    if pixels.get("pad"):
        return np.clip(np.round(sides * (size / sides).min()).astype(int), 1, size)
    if isinstance(resize, int):
        return np.array([int(resize * side / sides.min()) for side in sides])
    return np.maximum(np.round(sides * (resize / sides).max()).astype(int), resize)


def inside(array, image):
    """The part of an array (height, width, ...) of an input's size that shows the image."""
    if not pixels.get("pad"):
        return array
    size, sides = pair(pixels["size"]), resized(np.array(image.size[::-1]))
    top, left = (size - sides) // 2
    return array[top : top + sides[0], left : left + sides[1]]


def prepare(image):
    size, sides = pair(pixels["size"]), resized(np.array(image.size[::-1]))
    scaled = image
    if image.size != (sides[1], sides[0]):
        mode = getattr(Image.Resampling, pixels["interpolation"].upper())
        scaled = image.resize((sides[1], sides[0]), mode)
    array = np.asarray(scaled, np.uint8).reshape(*sides, channels)
    if pixels.get("pad"):
        whole = np.empty((*size, channels), np.uint8)
        whole[:] = np.round(np.float32(pixels["mean"]) * np.float32(255))
        inside(whole, image)[:] = array
    else:
        top, left = np.round((sides - size) / 2).astype(int)
        whole = array[top : top + size[0], left : left + size[1]]
    x = (whole / np.float32(255) - np.float32(pixels["mean"])) / np.float32(pixels["std"])
    return x.transpose(2, 0, 1)[None]


def show(path, image, output):
@@SHOW@@

for path in sys.argv[1:]:
    image = load(path)
    show(path, image, session.run(None, {"images": prepare(image)})[0][0])
'''


# The same voxels as experiments.usage.volumes, of arrays alone: the file of the network takes cubes
# of one side, and windows are for a program that has torch.
VOLUME_PROGRAM = '''\
"""Runs model.onnx on volumes: python run_onnx.py VOLUME.npy...

Needs onnxruntime and numpy. A volume has the axes (D, H, W) or (C, D, H, W) and the sides of the
cubes of training; its voxels are uint8, uint16 or floats in [0, 1]. Its mask is written as
NAME_mask.npy. transform.json says how a volume becomes an input.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).resolve().parent
rule = json.loads((here / "transform.json").read_text(encoding="utf-8"))
shape = tuple(rule["input_shape"])
session = onnxruntime.InferenceSession(here / "model.onnx", providers=["CPUExecutionProvider"])


def load(path):
    volume = np.load(path)
    volume = volume[None] if volume.ndim == 3 else volume
    if volume.shape != shape:
        sys.exit(f"{path} is of {volume.shape}, and this file of the network takes {shape}: cut it "
                 "into such cubes, or use python -m experiments.predict, which does so")
    largest = {"uint8": 255, "uint16": 65535}.get(str(volume.dtype), 1)
    if largest == 1 and not (volume.dtype.kind == "f" and 0 <= volume.min() <= volume.max() <= 1):
        sys.exit(f"{path} is {volume.dtype} from {volume.min()} to {volume.max()}: give uint8, "
                 "uint16 or floats in [0, 1], by the rule that made the volumes of training")
    return volume.astype(np.float32) / np.float32(largest)


def prepare(volume):
    mean, std = (np.float32(rule["preprocessing"][key])[:, None, None, None]
                 for key in ("mean", "std"))
    return ((volume - mean) / std)[None]


def show(path, output):
    classes = (output[0] > 0) if len(output) == 1 else output.argmax(0)
    target = Path(path).stem + "_mask.npy"
    np.save(target, classes.astype("uint8" if len(output) <= 256 else "uint16"))
    print(path, target, sep=",")


for path in sys.argv[1:]:
    show(path, session.run(None, {"images": prepare(load(path))})[0][0])
'''


def write_transform(folder: Path, description: Description) -> Path:
    """Write how an image becomes an input, and what the outputs are. Raises: OSError."""
    text = json.dumps(description.to_dict(), indent=2, ensure_ascii=False) + "\n"
    path = folder / TRANSFORM
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_program(folder: Path, answers: Answers, program: str) -> Path:
    """Write a program, IMAGE_PROGRAM or VOLUME_PROGRAM, for the outputs of a task.

    Raises: OSError.
    """
    path = folder / PROGRAM
    with atomic_path(path) as temporary:
        shown = indent(answers.script, "    ")
        temporary.write_text(program.replace("@@SHOW@@\n", shown), encoding="utf-8")
    return path
