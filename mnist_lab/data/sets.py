"""Names, sizes and places of the sets that share MNIST's format; no torch."""

import os
from pathlib import Path

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
AUGMENTS = ("affine", "elastic")  # functions of data/augment.py
NUM_CLASSES = 10  # of each set
NUM_TRAIN = 60_000  # images, of which validation takes a part
EVAL_BATCH_SIZE = 1_000
MAX_SEED = 2**32 - 1  # what Lightning's seed_everything takes
TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def folder_of(root: Path, dataset: str) -> Path:
    """Return the folder of a set's four files: ``root`` itself, or one below it, where they are.

    Args:
        root: the folder that the sets are kept in.
        dataset: one of ``FOLDERS``.
    """
    usual = root / FOLDERS[dataset] / "raw"
    of_others = {*FOLDERS.values()} - {FOLDERS[dataset]}
    nearer = [] if of_others & {*root.parts[-2:]} else [root / "raw", root]
    for folder in (usual, usual.parent, *nearer):
        if any(find_file(folder, name) for name in TRAIN_FILES + TEST_FILES):
            return folder
    return usual


def find_file(folder: Path, name: str) -> Path | None:
    """Return the path of one of a set's files, gzipped or not, with a dash or a dot before idx."""
    dotted = name.replace("-idx", ".idx")
    paths = [folder / text for text in (name, f"{name}.gz", dotted, f"{dotted}.gz")]
    return next((path for path in paths if os.path.exists(path)), None)


def has_set(root: str | Path, dataset: str) -> bool:
    """Return whether all four files of a set are below a folder."""
    folder = folder_of(Path(root).expanduser(), dataset)
    return all(find_file(folder, name) for name in TRAIN_FILES + TEST_FILES)
