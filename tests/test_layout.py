"""Each folder imports only from the floors below it, and tests mirror the package."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import PACKAGE, imports, modules

# What each entry of the package may import of the others; the table of docs/architecture.md.
ALLOWED = {
    "errors": [],
    "models": ["errors"],
    "files": ["errors"],
    "runs": ["errors", "files"],
    "data": ["errors", "files"],
    # The names and ranges that a model or a data set takes: two modules without torch.
    "config": ["errors", "files", "runs", "models.arguments", "data.sets"],
    "training": ["errors", "files", "models", "data", "runs", "config"],
    "inference": ["errors", "files", "models", "data", "runs", "config", "training"],
    "sweeps": ["errors", "files", "runs", "config", "training"],
    "callbacks": ["errors", "files", "inference", "training.progress"],
    "report": ["errors", "files", "runs", "config", "inference"],
    "cli": [
        *("errors", "files", "models", "data", "runs", "config", "training", "inference"),
        *("sweeps", "callbacks", "report"),
    ],
    "__main__": ["cli"],
}
HEAVY = ["torch", "lightning", "torchvision", "torchmetrics"]
FORBIDDEN = {
    "errors": [*HEAVY, "hydra", "omegaconf"],
    "runs": [*HEAVY, "hydra", "omegaconf"],
    "config": HEAVY,
    "models": ["hydra", "omegaconf"],
    "files": ["hydra", "omegaconf"],
    "data": ["hydra", "omegaconf"],
    "models/arguments.py": HEAVY,
    "data/sets.py": HEAVY,
}
"""Libraries that an entry or a module does without; without torch a command answers at once."""


# Modules that only other modules' tests cover.
UNTESTED = {
    "__init__.py",
    "cli/runs/__init__.py",
    "cli/runs/label.py",
    "cli/train_job.py",  # by that of cli/train.py
    "callbacks/projector.py",
    "cli/new_project/mine.py",  # of a project, whose own test is run by that of cli/new.py
    "cli/new_project/test_mine.py",
    "config/callback_schema.py",  # by that of config/schema.py
    "config/hydra_internals.py",
    "config/jobs.py",
    "config/messages.py",
    "config/model_schema.py",  # and of the other groups: by that of config/schema.py
    "config/optimizer_schema.py",
    "config/overrides.py",
    "config/resolve.py",
    "config/sources.py",
    "config/sweep_schema.py",
    "config/trainer_schema.py",
    "config/write_paths.py",
    "data/__init__.py",
    "files/checkpoint_inspection.py",
    "inference/card.py",  # by that of cli/card.py
    "models/__init__.py",
    "models/metrics.py",
    "report/leftovers.py",  # by that of cli/runs/remove.py
    "report/details.py",  # by that of cli/runs/show.py
    "training/__init__.py",
    "training/loggers/hparams.py",
    "training/lightning_internals.py",
    "sweeps/rungs.py",  # by those of sweeps/halving.py and sweeps/population.py
    "training/stacked/run.py",
    "training/stacked/schedules.py",
    "training/stacked/train.py",
    "training/trainer.py",
}


def violations(package: Path) -> Iterator[str]:
    """Yield each import that goes up, or that an entry has to do without."""
    for path, tree in modules(package):
        entry = path.split("/")[0].removesuffix(".py")
        if entry == "__init__":  # the public names
            continue
        for module, name, _ in imports(path, tree):
            top, _, rest = f"{module}.{name}".partition(".")
            if top in FORBIDDEN.get(entry, []) + FORBIDDEN.get(path, []):
                yield f"{path}: imports {module}"
            target = rest.split(".")[0]
            is_entry = (package / target).is_dir() or (package / f"{target}.py").exists()
            if top != "mnist_lab" or not target or not is_entry or target == entry:
                continue
            if not any(f"{rest}.".startswith(f"{place}.") for place in ALLOWED[entry]):
                yield f"{path}: imports {module}"


def untested(package: Path, tests: Path) -> list[str]:
    """Return the modules with functions or classes that no test file is named for."""
    return [
        path
        for path, tree in modules(package)
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
        and not (tests / path).with_name(f"test_{Path(path).name}").exists()
    ]


def test_each_folder_imports_from_the_floors_below_it() -> None:
    assert list(violations(PACKAGE)) == []


@pytest.mark.parametrize("folder", ["config", "runs", "training"])
def test_an_import_that_goes_up_is_found(folder: str, tmp_path: Path) -> None:
    package = tmp_path / "mnist_lab"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "mnist"))
    before = set(violations(package))
    for number, line in enumerate(
        [
            "from mnist_lab.sweeps import trial",
            "import mnist_lab.sweeps.trial",
            "from mnist_lab import sweeps",
            "from ..sweeps import trial",
            "def later():\n    from mnist_lab.sweeps import trial",
        ]
    ):
        (package / folder / f"planted_{number}.py").write_text(line + "\n")
    found = sorted(set(violations(package)) - before)
    assert [line.split(":")[0] for line in found] == [
        f"{folder}/planted_{number}.py" for number in range(5)
    ]


def test_a_library_that_a_folder_does_without_is_found(tmp_path: Path) -> None:
    package = tmp_path / "mnist_lab"
    for path, line in (
        ("config/a.py", "from torch import nn"),
        ("runs/b.py", "import hydra.utils"),
        ("runs/c.py", "import lightning as L"),
    ):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(line)
    assert len(list(violations(package))) == 3


def test_the_entries_are_the_thirteen_that_the_table_has() -> None:
    entries = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    entries -= {"__init__", "__pycache__", "conf"}  # conf: of an installed wheel
    assert entries <= ALLOWED.keys()
    assert len(entries) <= 13


def test_tests_mirror_the_package() -> None:
    assert set(untested(PACKAGE, Path(__file__).parent)) - UNTESTED == set()
