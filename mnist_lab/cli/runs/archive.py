"""``mnist-lab runs archive``: a run or a sweep as one file, which other verbs take."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_lab.cli.arguments import Parser, check_may_write
from mnist_lab.cli.runs.label import is_run
from mnist_lab.cli.terminal import say
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.runs.archive import pack, unpack


def archive(arguments: list[str]) -> None:
    """Write a run or a sweep as one file."""
    parser = Parser(
        "mnist-lab runs archive",
        description="Writes a run or a sweep as one zip file, which mnist-lab evaluate FILE and "
        "mnist-lab resume FILE take on another machine; resume unpacks it where it is called.",
    )
    parser.add_argument("run", type=Path, help="the directory of a run or of a sweep")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="else NAME.zip, here")
    parser.add_overwrite()
    options = parser.parse_intermixed_args(arguments)
    if not is_run(options.run):
        raise InputError(f"{options.run}: no directory of a run or a sweep")
    folder = options.run.resolve()
    file = options.output or Path(f"{folder.name}.zip")
    if folder in Path(os.path.realpath(file.parent), file.name).parents:
        raise ConfigError(f"--output {file}: must not be in the directory that it holds")
    check_may_write(file, options.overwrite)
    pack(options.run, file)
    say(str(file))


@contextlib.contextmanager
def directory_of(run: Path) -> Iterator[Path]:
    """Yield a run's directory; of an archive it is a temporary one.

    Raises:
        LabError: the archive is refused or corrupt.
    """
    if not run.is_file():
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        yield unpack(run, Path(folder))
