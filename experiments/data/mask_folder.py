"""Images and masks of your own: found, paired by their stems, and looked at before training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets
from experiments.data.download import missing
from experiments.data.file_images import EncodedImages, in_words_of
from experiments.data.images import open_image
from experiments.data.listing import EXTENSIONS, directories_in, find_splits, list_images
from experiments.data.mask_files import MaskFiles, Pair
from experiments.data.mask_table import MaskTable, distinct, guess_table, read_codes
from experiments.data.masks import IGNORE
from experiments.data.notes import join_names, say
from experiments.data.splits import complete_splits, split_off_test
from experiments.errors import DataError
from experiments.machine import usable_cores

# Names of directories, in any case, as published datasets have them.
IMAGES = ("images", "image", "imgs", "img", "original")
MASKS = ("masks", "mask", "annotations", "labels", "ground truth", "groundtruth", "gt")
# A mask beside its image, or several of one image: BUSI's x_mask.png and x_mask_1.png, GlaS's
# x_anno.bmp.
_SUFFIX = re.compile(r"(.+)_(?:mask|anno|segmentation|gt)(?:_\d+)?", re.IGNORECASE | re.DOTALL)
_LAYOUT = (
    "images/<stem>.png with masks/<stem>.png (in train, test and perhaps val, or alone, of which "
    "20 % becomes the test split), or <stem>.png with <stem>_mask.png"
)
_MANY = 2000  # masks whose reading one does not wait for without a word


def load_mask_folder(cfg: DataConfig) -> Datasets:
    """Images with masks: root/images and root/masks, in split directories or not, or x_mask files.

    Pairs have one stem, and one directory below images and masks. Masks <stem>_mask, <stem>_mask_1,
    ... of one image are united. Every mask is decoded once before training, and of every image the
    header is read. Without split directories a fixed 20 % becomes test, balanced over the
    directories of the images; validation images are split off train.

    Raises: DataError for whatever is wrong with the folder, naming the file and what to do.
    """
    root = Path(cfg.root).expanduser()
    if not root.is_dir():
        why = "a file, not a directory" if root.exists() else "no such directory"
        raise missing("mask_folder", [root], [_LAYOUT], why)
    places = find_splits(root) or {"all": root}
    for split in () if "all" in places else ("train", "test"):
        if split not in places:
            raise DataError(f"{(root / split).absolute()} does not exist; wanted: {_LAYOUT}")
    found = {split: find_pairs(place) for split, place in places.items()}
    table = None if cfg.classes is None else MaskTable.of(cfg.classes)
    table = _survey([pair for pairs in found.values() for pair in pairs], table)
    made = {split: MaskFiles(root, pairs, table) for split, pairs in found.items()}
    if "all" in made:
        return complete_splits(cfg, *split_off_test(made["all"]))
    return complete_splits(cfg, made["train"], made["test"], made.get("validation"))


# --------------------------------------------------------------------------------------- the files
def find_pairs(folder: Path) -> list[Pair]:
    """Pair the images below a directory with their masks, in the order of the images.

    Raises: DataError for an image without mask, a mask without image, two files of one stem, and
    where there are none.
    """
    images, masks = _side_by_side(folder) or _beside(folder)
    if not images:
        raise DataError(f"{folder.absolute()} holds no image ({', '.join(EXTENSIONS)})")
    owned: dict[str, list[Path]] = {key: [] for key in images}
    orphans = []
    for key, path in masks.items():
        suffixed = _SUFFIX.fullmatch(key)
        owner = key if key in images or suffixed is None else suffixed[1]
        if owner in owned:
            owned[owner].append(path)
        else:
            orphans.append(path)
    if orphans:
        raise DataError(
            f"{_several(orphans, 'mask')} no image of the same stem: add the image or take the "
            "mask away"
        )
    bare = [images[key] for key, paths in owned.items() if not paths]
    if bare:
        raise DataError(
            f"{_several(bare, 'image')} no mask of the same stem: add it (of background alone for "
            "a picture without objects) or take the image away"
        )
    return [Pair(images[key], owned[key], str(Path(key).parent)) for key in images]


def _side_by_side(folder: Path) -> tuple[dict[str, Path], dict[str, Path]] | None:
    """The files of a directory of images and one of masks; None where there is neither."""
    sides = []
    for known in (IMAGES, MASKS):
        mine = [name for name in directories_in(folder) if name.lower() in known]
        if len(mine) > 1:
            raise DataError(
                f"{folder.absolute()} has the directories {' and '.join(mine)}: keep one, rename "
                "or move the other"
            )
        sides.append(mine)
    if not any(sides):
        return None
    for side, what in zip(sides, ("images", "masks"), strict=True):
        if not side:
            raise DataError(f"{folder.absolute()} has no directory {what}; wanted: {_LAYOUT}")
    found = [_files(folder / side[0]) for side in sides]
    for files, side in zip(found, sides, strict=True):
        if not files:
            at = (folder / side[0]).absolute()
            raise DataError(f"{at} is empty: it holds no picture ({', '.join(EXTENSIONS)})")
    return found[0], found[1]


def _beside(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    files = _files(folder)
    masks = {key: path for key, path in files.items() if _SUFFIX.fullmatch(key)}
    if not masks:
        raise DataError(
            f"{folder.absolute()} has no directory masks, and no <stem>_mask files; wanted: "
            f"{_LAYOUT}"
        )
    return {key: path for key, path in files.items() if key not in masks}, masks


def _files(folder: Path) -> dict[str, Path]:
    """{path below the directory without extension: path}. Raises: DataError for two of one."""
    files: dict[str, Path] = {}
    for name, _ in list_images(folder.absolute().parent, [folder.absolute().name]).samples:
        path = Path(name)
        key = path.relative_to(folder.absolute()).with_suffix("").as_posix()
        if key in files:
            raise DataError(
                f"{files[key]} and {path.name} have one stem, {path.stem}: it is not known which "
                "of them is meant; take one away"
            )
        files[key] = path
    return files


def _several(paths: Sequence[Path], what: str) -> str:
    names = join_names([str(path) for path in paths[:1]] + [path.name for path in paths[1:]])
    return f"the {what} {names} has" if len(paths) == 1 else f"the {what}s {names} have"


# ------------------------------------------------------------------------------------- the content
def _survey(pairs: Sequence[Pair], table: MaskTable | None) -> MaskTable:
    """Decode every mask, and return the table, which without data.classes their values tell.

    Raises: DataError for a file that cannot be read, a size that is not the image's, a value that
    the table lacks, and for masks that are all of one class.
    """
    if len(pairs) > _MANY:
        say(f"looking at {len(pairs)} masks before training")
    colour = table is not None and table.colour
    values: set[int] = set()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for found in pool.map(lambda pair: set(_values(pair, table, colour)), pairs):
            values |= found
    if table is None:
        return guess_table(values)
    present = {table.codes.get(value, table.other) for value in values} - {IGNORE}
    if len(present) < 2:
        only = ", ".join(table.names[index] for index in present if index is not None) or "ignore"
        raise DataError(
            f"all pixels of all masks are of class {only}: a network learns two classes or more; "
            "look at the mask files, or at data.classes"
        )
    return table


def _values(pair: Pair, table: MaskTable | None, colour: bool) -> Iterator[int]:
    remedy = EncodedImages.remedy
    with in_words_of(lambda: str(pair.image), remedy), Image.open(pair.image) as image:
        turned = image.getexif().get(0x112, 1) >= 5  # a quarter turn, which admit_image makes
        size = image.size[::-1] if turned else image.size
    for path in pair.masks:
        with in_words_of(lambda path=path: str(path), remedy):  # type: ignore[misc]
            mask = open_image(path)
            codes = read_codes(mask, colour)
            if codes.shape[::-1] != size:
                own = " x ".join(map(str, codes.shape[::-1]))
                raise DataError(
                    f"is {own} pixels (W x H), and its image {pair.image} is "
                    f"{size[0]} x {size[1]}: resize the mask by nearest neighbour, or look whether "
                    "they belong together"
                )
            if table is not None:
                table.encode(mask)
        yield from distinct(codes).tolist()
