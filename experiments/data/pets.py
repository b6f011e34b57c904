"""Oxford-IIIT Pet: cats and dogs, and for each pixel whether it is pet, background or between."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import OxfordIIITPet

from experiments.config.data import DataConfig
from experiments.data.containers import Datasets
from experiments.data.download import Source, damaged, ensure_present
from experiments.data.mask_files import MaskFiles, Pair
from experiments.data.mask_table import MaskTable
from experiments.data.splits import complete_splits

FOLDER = "oxford-iiit-pet"  # torchvision's
# The trimaps' values; border is a class of its own, as in most published figures.
TRIMAP = MaskTable.of({"background": 2, "pet": 1, "border": 3})


def load_pets(cfg: DataConfig) -> Datasets:
    """The published trainval and test splits, in torchvision's layout; downloaded if absent.

    Validation images are split off trainval, balanced over the 37 breeds.

    Raises: DataError if the images are absent and cannot be fetched, or if a file is.
    """
    root = Path(cfg.root).expanduser()
    folder = root / FOLDER
    lists = [folder / "annotations" / f"{part}.txt" for part in ("trainval", "test")]
    source = Source(
        "pets",
        root,
        expected=[f"{FOLDER}/{name}" for name in ("images", "annotations")],
        looked_in=[root],
        present=lambda: (folder / "images").is_dir() and all(path.is_file() for path in lists),
        fetch=lambda: OxfordIIITPet(str(root), download=True),
    )
    ensure_present(source, cfg.download)
    return complete_splits(
        cfg, *(MaskFiles(folder, _pairs(folder, path), TRIMAP) for path in lists)
    )


def _pairs(folder: Path, path: Path) -> list[Pair]:
    pairs = []
    for line in path.read_text().splitlines():
        parts = line.split()
        if not parts or line.startswith("#"):
            continue
        if len(parts) != 4:
            raise damaged(path, f"a line is {line!r}, not a name and three numbers")
        image = folder / "images" / f"{parts[0]}.jpg"
        mask = folder / "annotations" / "trimaps" / f"{parts[0]}.png"
        for file in (image, mask):
            if not file.is_file():
                raise damaged(folder, f"{file.relative_to(folder)} is missing")
        pairs.append(Pair(image, [mask], parts[1]))
    if not pairs:
        raise damaged(path, "it names no image")
    return pairs
