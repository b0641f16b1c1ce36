"""Who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import mnist_lab

ROOT = Path(mnist_lab.__file__).parent
# What turns a config into objects, or checks one. Everything else works without Hydra.
KNOWS_CONFIGS = {
    *("checks", "commands", "config", "evaluation", "explain", "interpolations", "job", "knobs"),
    *("record", "schemas", "stored", "sweeps", "trainer", "trainer_checks"),
}


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, also within functions."""
    package = ["mnist_lab", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*start, node.module or ""]).strip(".")
            yield from (f"{module}.{name.name}" for name in node.names)


def importers(*names: str) -> set[str]:
    """Return the parts of the package that import a module or what is in it."""
    return {
        path.relative_to(ROOT).with_suffix("").parts[0]
        for path in ROOT.rglob("*.py")
        for found in imports(path)
        if any(found == name or found.startswith(f"{name}.") for name in names)
    }


def test_only_what_knows_configs_imports_hydra() -> None:
    assert importers("hydra", "omegaconf") <= KNOWS_CONFIGS


def test_models_and_data_know_only_errors_and_files() -> None:
    for part in ("models", "data"):
        own = {
            ".".join(found.split(".")[:2])
            for path in (ROOT / part).glob("*.py")
            for found in imports(path)
            if found.startswith("mnist_lab")
        }
        assert own <= {f"mnist_lab.{part}", "mnist_lab.errors", "mnist_lab.files.atomic"}


def test_nothing_imports_the_command_line() -> None:
    assert importers("mnist_lab.cli.main") == {"train"}
    assert importers("mnist_lab.commands") <= {"cli", "commands"}
