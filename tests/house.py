"""The modules of mnist_lab as syntax trees, and what each imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import mnist_lab

PACKAGE = Path(mnist_lab.__file__).parent


def modules(package: Path = PACKAGE) -> Iterator[tuple[str, ast.Module]]:
    """Yield each module's path below the package, and its syntax tree."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imports(path: str, tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """Yield each import, inside functions too: module, name (or nothing) and line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", node.lineno
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                folders = ["mnist_lab", *path.split("/")[:-1]]
                above = folders[: len(folders) - node.level + 1]
                module = ".".join([*above, *filter(None, [module])])
            for alias in node.names:
                yield module, alias.name, node.lineno
