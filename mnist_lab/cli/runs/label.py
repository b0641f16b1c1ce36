"""``mnist-lab runs tag`` and ``note``: what a user calls runs."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.terminal import say
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.report.read_runs import run_directories
from mnist_lab.runs.directory import MANIFEST, SWEEP
from mnist_lab.runs.labels import check_tags, note_run, tag_run
from mnist_lab.runs.summary import counted


def tag(arguments: list[str]) -> None:
    """Give tags to runs."""
    parser = Parser(
        "mnist-lab runs tag",
        description="Gives tags to runs, or to all trials of a sweep; mnist-lab runs --where "
        "tag=paper finds them. Words that are no directories of runs are the tags.",
    )
    parser.add_argument("words", nargs="+", metavar="RUN... TAG...", help="directories and tags")
    parser.add_argument("--remove", action="store_true", help="take the tags away")
    options = parser.parse_intermixed_args(arguments)
    # A tag may be longer than a name of a file.
    places = [Path(word) for word in options.words if os.path.isdir(word) and is_run(Path(word))]
    tags = [word for word in options.words if Path(word) not in places]
    for word in tags:
        if "/" in word:
            raise InputError(f"{word}: no directory of a run or a sweep")
    if not places or not tags:
        raise ConfigError(
            "mnist-lab runs tag: directories of runs, and then tags, are required: "
            "mnist-lab runs tag outputs/runs/... paper"
        )
    check_tags(tags)
    runs = list(_runs(places))
    for run in runs:
        tag_run(run, drop=tags) if options.remove else tag_run(run, tags)
    # A name of a directory with a slip in it is taken for a tag, and seen here.
    done = "removed" if options.remove else "added"
    say(f"{counted(len(runs), 'run')}: {done} {counted(len(tags), 'tag')}: {' '.join(tags)}")


def note(arguments: list[str]) -> None:
    """Keep a text about a run."""
    parser = Parser(
        "mnist-lab runs note",
        description="Keeps a text about a run, in place of the one that it has; mnist-lab runs "
        "--columns run,note shows it.",
    )
    parser.add_argument("run", type=Path, help="the directory of a run or of a sweep")
    parser.add_argument("text", help="an empty one, '', removes it")
    options = parser.parse_intermixed_args(arguments)
    if not is_run(options.run):
        raise InputError(f"{options.run}: no directory of a run or a sweep")
    for run in _runs([options.run]):
        note_run(run, options.text)


def is_run(path: Path) -> bool:
    """Return whether a directory is that of a run or a sweep."""
    return (path / MANIFEST).is_file() or (path / SWEEP).is_file()


def _runs(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the runs at or below each place; one without a manifest has no labels."""
    return (run for run in run_directories(places) if (run / MANIFEST).is_file())
