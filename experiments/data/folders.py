"""Images of your own: in directories, one per class, or in tar shards."""

from __future__ import annotations

from pathlib import Path

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets
from experiments.data.download import missing
from experiments.data.file_images import FolderImages
from experiments.data.known import UNKNOWN, Published
from experiments.data.listing import EXTENSIONS, directories_in, find_splits, list_images
from experiments.data.notes import join_names, say
from experiments.data.shards import LAYOUT as SHARDS
from experiments.data.shards import ShardImages, names_shards, read_shards
from experiments.data.splits import complete_splits, split_off_test
from experiments.errors import DataError, nearest

_LAYOUT = (
    "train/<class>/<image> and test/<class>/<image> (val/<class>/<image> if you have it), or "
    "<class>/<image> alone, of which 20 % becomes the test split"
)


def read_class_folders(
    folder: Path, classes: list[str], known: Published = UNKNOWN
) -> FolderImages:
    """List the images of each class directory.

    The label is the place in `classes`, which come from train: a split that lacks a class must not
    shift the labels of the others.

    Raises: DataError for a directory with images that is no class of train, and if there are none.
    """
    unknown = [name for name in directories_in(folder) if name not in classes]
    for name in unknown:
        if list_images(folder, [name]).samples:
            raise DataError(
                f"{(folder / name).absolute()} is a class that the training images do not have"
                f"{nearest(name, classes) or '.'} Rename or delete it"
            )
    listing = list_images(folder, classes)
    if not listing.samples:
        raise DataError(f"{folder.absolute()} holds no image ({', '.join(EXTENSIONS)})")
    if known is UNKNOWN:  # published datasets have notes among their images
        listing.tell_passed()
    return FolderImages(folder, listing.samples, classes, known)


def read_training_folders(folder: Path, known: Published = UNKNOWN) -> FolderImages:
    """List the training images, whose directories define the classes.

    A directory without images is kept out, in a line: a class that cannot be learnt would only
    take up an output of the model. If another split has images of it, that split is refused.

    Raises: DataError if there is no class directory, or no image in any.
    """
    names = directories_in(folder)
    if not names:
        raise DataError(f"{folder.absolute()} holds no class directories; wanted: {_LAYOUT}")
    filled = {label for _, label in list_images(folder, names).samples}
    classes = [name for label, name in enumerate(names) if label in filled]
    empty = [name for name in names if name not in classes]
    if empty and classes:
        say(
            f"no image in the class directories {join_names(empty)} of {folder}: kept out of the "
            f"{len(classes)} classes"
        )
    return read_class_folders(folder, classes, known)


def _complete_shards(cfg: DataConfig, shards: dict[str, ShardImages]) -> Datasets:
    if "test" not in shards:
        raise DataError(f"the shards of {cfg.root} have no test split; wanted: {SHARDS}")
    return complete_splits(cfg, shards["train"], shards["test"], shards.get("validation"))


def load_folder(cfg: DataConfig) -> Datasets:
    """Images of your own: root/train, root/test and perhaps root/val, classes in root, or shards.

    Other names of the splits (SPLIT_NAMES) do as well, in any case. Without validation images they
    are split off train. With class directories in root itself, a stratified 20 % becomes test, the
    same in every run. Shards have the same splits by their names, see read_shards.

    Raises: DataError naming the layout wanted.
    """
    root = Path(cfg.root).expanduser()
    if not root.is_dir() and not names_shards(cfg.root):
        why = "a file, not a directory" if root.exists() else "no such directory"
        raise missing("folder", [root], [_LAYOUT, SHARDS], why)
    places = find_splits(root) if root.is_dir() else {}
    # Tar files beside class directories are somebody's archive.
    folders = root.is_dir() and directories_in(places.get("train", root))
    if not folders and (shards := read_shards(cfg)):
        return _complete_shards(cfg, shards)
    if not places:
        return complete_splits(cfg, *split_off_test(read_training_folders(root)))
    for split in ("train", "test"):
        if split not in places:
            raise DataError(
                f"{(root / split).absolute()} does not exist; wanted: {_LAYOUT}. A held-out val "
                "that is to be the test split must be renamed to test"
            )
    images = read_training_folders(places["train"])
    test = read_class_folders(places["test"], images.classes)
    if "validation" not in places:
        return complete_splits(cfg, images, test)
    validation = read_class_folders(places["validation"], images.classes)
    return complete_splits(cfg, images, test, validation)
