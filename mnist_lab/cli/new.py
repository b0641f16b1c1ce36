"""``mnist-lab new``: writes a small project with code of one's own to begin with."""

import shutil
from pathlib import Path

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.terminal import say
from mnist_lab.errors import ConfigError, StorageError, reason

_TEMPLATE = Path(__file__).parent / "new_project"
_DESCRIPTION = """\
Writes a small project into a new or an empty folder: a model, a data set, a metric and a callback
in one Python file, a recipe that puts them together, a test of it, and a README with commands."""


def main(arguments: list[str]) -> int:
    """Write the project, and print where it is.

    Raises:
        ConfigError: the folder is not empty.
        StorageError: it cannot be written.
    """
    parser = Parser("mnist-lab new", description=_DESCRIPTION)
    parser.add_argument("folder", type=Path, help="a new folder, or an empty one")
    folder: Path = parser.parse_intermixed_args(arguments).folder
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: must be a new or an empty folder")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_TEMPLATE, folder, ignore=ignored, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise StorageError(f"{folder}: cannot be written: {reason(error)}") from error
    say(f"{folder}: a project to begin with; {folder / 'README.md'} has its commands")
    return 0
