"""``mnist-lab runs rm`` and ``gc``: removal of runs, to be undone, and of what is not needed."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.runs.label import is_run
from mnist_lab.cli.runs.listing import add_selection, print_rows, selected, shown_columns
from mnist_lab.cli.terminal import say, say_table
from mnist_lab.errors import BusyError, ConfigError, InputError
from mnist_lab.report.leftovers import MEANING, Kind, leftovers, remove_leftover
from mnist_lab.report.read_runs import Entry
from mnist_lab.runs.directory import CONFIG, METRICS, OUTPUTS, display_path
from mnist_lab.runs.exclusive import exclusive
from mnist_lab.runs.summary import counted, size_text
from mnist_lab.runs.trash import TRASH, discard, put_back, removal_name


def rm(arguments: list[str]) -> None:
    """Move runs and sweeps to the trash, or put back what was moved last.

    Raises:
        LabError: something that the user can mend is wrong; nothing was moved.
    """
    parser = Parser(
        "mnist-lab runs rm",
        description=f"Moves runs and sweeps to {TRASH} in {OUTPUTS}, or beside them where "
        "they are elsewhere; one that is running is refused. With --where it is the runs and "
        "trials in or below the directories for which the terms hold: it lists them, and removes "
        "them with --yes.",
    )
    parser.add_argument("places", nargs="*", metavar="DIR", help="directories of runs and sweeps")
    add_selection(parser)
    parser.add_argument("--yes", action="store_true", help="remove what --where finds")
    parser.add_argument(
        "--undo",
        action="store_true",
        help=f"put back what was removed last in these folders, else {OUTPUTS}; or the runs that "
        "had these directories",
    )
    options = parser.parse_intermixed_args(arguments)
    if options.undo:
        for path in put_back(map(Path, options.places or [OUTPUTS])):
            say(f"put back: {display_path(path)}")
        return
    found = _found(options) if options.where is not None else []
    folders = _outermost([entry.path for entry in found] if found else _named(options.places))
    for folder in folders:
        with exclusive(folder):  # all before any is moved
            pass
    if found and not options.yes:
        print_rows(found, shown_columns(found, shows_test=False))
        these = "this run" if len(folders) == 1 else f"these {counted(len(folders), 'run')}"
        say(f"mnist-lab runs rm --yes removes {these}")
        return
    name = removal_name()
    for folder in folders:
        discard(folder, name)
        say(f"removed: {folder}")
    if folders:
        words = "" if not options.places else " " + shlex.join(options.places)
        say(f"mnist-lab runs rm --undo{words} puts them back")


def _found(options: argparse.Namespace) -> list[Entry]:
    if not (found := selected(options)):
        raise InputError("no such runs")
    return found


def _named(places: Sequence[str]) -> list[Path]:
    if not places:
        raise ConfigError("mnist-lab runs rm: directories of runs are required, or --where")
    folders = list(map(Path, places))
    for folder in folders:
        if not is_run(folder) and not any((folder / name).is_file() for name in (METRICS, CONFIG)):
            raise InputError(f"{folder}: no directory of a run or a sweep")
    return folders


def _outermost(folders: Sequence[Path]) -> list[Path]:
    """Return folders, each once and none in another."""
    by_place = {folder.absolute(): folder for folder in folders}
    return [
        folder for place, folder in by_place.items() if not by_place.keys() & set(place.parents)
    ]


def gc(arguments: list[str]) -> int:
    """Say what is not needed and how much it takes, and remove it when asked."""
    parser = Parser(
        "mnist-lab runs gc",
        description="Says what takes place in or below some folders without need, and removes it "
        "with --yes; nothing of a run or a sweep that a process works on.",
    )
    parser.add_argument("places", nargs="*", metavar="DIR", help=f"folders, else {OUTPUTS}")
    parser.add_argument("--yes", action="store_true", help="remove it")
    parser.add_argument(
        "--only", metavar="KINDS", type=_kinds, default=list(Kind), help=f"of {', '.join(Kind)}"
    )
    options = parser.parse_intermixed_args(arguments)
    found = [
        item
        for item in leftovers(map(Path, options.places or [OUTPUTS]))
        if item.kind in options.only
    ]
    rows = []
    for kind in options.only:
        if items := [item for item in found if item.kind == kind]:
            size = sum(item.size for item in items)
            rows.append([kind, str(len(items)), size_text(size), MEANING[kind]])
    if not rows:
        say("nothing to remove")
        return 0
    say_table(["kind", "number", "size", ""], rows, ["number", "size"])
    if not options.yes:
        say("mnist-lab runs gc --yes removes it; --only previous,trash: these kinds alone")
        return 0
    name, code = removal_name(), 0
    for item in found:
        try:
            remove_leftover(item, name)
        except BusyError as error:
            say(f"mnist-lab runs: left: {error}", to_stderr=True)
            code = error.exit_code
    return code


def _kinds(text: str) -> list[Kind]:
    try:
        return [Kind(name) for name in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be of {', '.join(Kind)}") from None
