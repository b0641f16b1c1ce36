"""Names, classes, sizes and places of the sets; no torch."""

import os
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_lab.errors import ConfigError, printable

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
DIGITS = tuple(string.digits)


@dataclass(frozen=True)
class PublishedSet:
    """A set that is known by name.

    Args:
        folder: of its files, below ``data.root``.
        classes: names in the order of the labels.
        train: files of the training part: images, then labels; or one that has both.
        test: files of the test part.
        first_label: that of the first class.
        max_bytes: of a file, unpacked as well; the largest of MNIST's has 47 million.
        val_size: training images that are for validation where nothing else is said.
    """

    folder: str
    classes: tuple[str, ...]
    train: tuple[str, ...] = TRAIN_FILES
    test: tuple[str, ...] = TEST_FILES
    first_label: int = 0
    max_bytes: int = 64_000_000
    val_size: int = 5_000


def _emnist(split: str, classes: str, first_label: int = 0) -> PublishedSet:
    train, test = (
        (f"emnist-{split}-{part}-images-idx3-ubyte", f"emnist-{split}-{part}-labels-idx1-ubyte")
        for part in ("train", "test")
    )
    return PublishedSet("EMNIST", tuple(classes), train, test, first_label, 600_000_000)


_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_HIRAGANA = (
    "a i u e o ka ki ku ke ko sa shi su se so ta chi tsu te to na ni nu ne no ha hi fu he ho "
    "ma mi mu me mo ya yu yo ra ri ru re ro wa wi we wo n repeat"
)
_EMNIST = {
    "balanced": _emnist("balanced", string.digits + string.ascii_uppercase + "abdefghnqrt"),
    "letters": _emnist("letters", string.ascii_lowercase, first_label=1),
    "digits": _emnist("digits", string.digits),
    "byclass": _emnist("byclass", string.digits + string.ascii_uppercase + string.ascii_lowercase),
}
SETS = {
    "mnist": PublishedSet("MNIST", DIGITS),
    "fashion_mnist": PublishedSet("FashionMNIST", tuple(_CLOTHES.split(","))),
    "kmnist": PublishedSet("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
    **{f"emnist-{split}": published for split, published in _EMNIST.items()},
    "qmnist": PublishedSet(
        "QMNIST",
        DIGITS,
        ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
        ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
    ),
    "kuzushiji49": PublishedSet(
        "Kuzushiji49",
        tuple(_HIRAGANA.split()),
        ("k49-train-imgs.npz", "k49-train-labels.npz"),
        ("k49-test-imgs.npz", "k49-test-labels.npz"),
        max_bytes=200_000_000,
    ),
    "usps": PublishedSet(
        "USPS", DIGITS, ("usps.bz2",), ("usps.t.bz2",), first_label=1, val_size=1_000
    ),
}
EMNIST_SPLITS = tuple(_EMNIST)
OWN = {"folder": "the folder of the classes' folders", "arrays": "the .npz or .csv file"}
"""Sets of the user's own, and what ``data.root`` is of each."""
DATASETS = (*dict.fromkeys(key.partition("-")[0] for key in SETS), *OWN)
AUGMENTS = ("affine", "elastic", "random_crop", "cutout", "mixup")
"""Functions of data/augment.py, and torchvision's MixUp."""
MOST_CLASSES, _LONGEST_NAME = 1_000, 255
NUM_TRAIN = 60_000  # images, of which validation takes a part
EVAL_BATCH_SIZE = 1_000
MAX_SEED = 2**32 - 1  # what Lightning's seed_everything takes


def chosen_set(dataset: str, split: str | None = None, root: object = None) -> str:
    """Return the key of a set in ``SETS``, or its name where it is the user's own.

    Args:
        dataset: one of ``DATASETS``.
        split: which part of EMNIST; None for all other sets.
        root: where a set of the user's own is.

    Raises:
        ConfigError: there is no such set or part, or a set of the user's own has no place.
    """
    if dataset not in DATASETS:
        raise ConfigError(f"data.dataset={dataset}: must be one of {', '.join(DATASETS)}")
    if dataset in OWN and root is None:
        raise ConfigError(f"data.root: must be set: {OWN[dataset]} of data={dataset}")
    if dataset != "emnist":
        if split is not None:
            raise ConfigError(f"data.split={split}: is of data=emnist alone; must be null")
        return dataset
    if split not in EMNIST_SPLITS:
        raise ConfigError(f"data.split={split}: must be one of {', '.join(EMNIST_SPLITS)}")
    return f"{dataset}-{split}"


def check_fold(folds: int | None, fold: int | None, val_size: int | None) -> None:
    """Check the parts of a cross-validation.

    Raises:
        ConfigError: there are fewer than two, none of them is chosen, or they do not go together.
    """
    if folds is None and fold is None:
        return
    if folds is None:
        raise ConfigError(f"data.fold={fold}: needs data.folds, the number of folds")
    if type(folds) is not int or folds < 2:
        raise ConfigError(f"data.folds={folds}: must be a whole number, at least 2")
    if type(fold) is not int or not 0 <= fold < folds:
        raise ConfigError(
            f"data.fold={fold}: must be one of 0 to {folds - 1} with data.folds={folds}; "
            f"cv={folds} trains them all"
        )
    if val_size == 0:
        raise ConfigError(f"data.val_size=0: must not be 0 with data.folds={folds}, which validate")


def num_classes_of(dataset: str, split: str | None) -> int | None:
    """Return the number of classes of a set; None where its files say it, or there is none."""
    published = SETS.get(f"{dataset}-{split}" if dataset == "emnist" else dataset)
    return len(published.classes) if published else None


def class_names_of(datamodule: Any) -> tuple[str, ...]:
    """Return the names of a data module's classes; none where they are the labels' numbers.

    Raises:
        ConfigError: its ``class_names`` are no names.
    """
    try:
        names = checked_names(getattr(datamodule, "class_names", None) or ())
    except ValueError as error:
        name = type(datamodule).__name__
        raise ConfigError(f"data._target_={name}: class_names: {error}") from None
    count = getattr(datamodule, "num_classes", len(names))
    is_named = names != tuple(map(str, range(len(names)))) and len(names) == count
    return names if is_named else ()


def checked_names(names: Any) -> tuple[str, ...]:
    """Return names of classes that can be shown, whoever gave them.

    Raises:
        ValueError: they are too many, too long, or no texts.
    """
    is_list = isinstance(names, list | tuple) and len(names) <= MOST_CLASSES
    if not is_list or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a list of at most {MOST_CLASSES:,} texts")
    if max(map(len, names), default=0) > _LONGEST_NAME:
        raise ValueError(f"must be texts of at most {_LONGEST_NAME} characters")
    return tuple(map(printable, names))


def folder_of(root: Path, key: str) -> Path:
    """Return the folder of a set's files: ``root`` itself, or one below it, where they are."""
    published = SETS[key]
    usual = root / published.folder / "raw"
    of_others = {other.folder for other in SETS.values()} - {published.folder}
    nearer = [] if of_others & {*root.parts[-2:]} else [root / "raw", root]
    for folder in (usual, usual.parent, *nearer):
        if any(find_file(folder, name) for name in published.train + published.test):
            return folder
    return usual


def find_file(folder: Path, name: str) -> Path | None:
    """Return the path of one of a set's files, gzipped or not, with a dash or a dot before idx."""
    dotted = name.replace("-idx", ".idx")
    paths = [folder / text for text in (name, f"{name}.gz", dotted, f"{dotted}.gz")]
    return next((path for path in paths if os.path.exists(path)), None)


def has_set(root: str | Path, key: str) -> bool:
    """Return whether all files of a set are below a folder."""
    published = SETS[key]
    folder = folder_of(Path(root).expanduser(), key)
    return all(find_file(folder, name) for name in published.train + published.test)
