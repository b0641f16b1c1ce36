"""``mnist-lab runs watch``: a live table of what runs."""

import contextlib
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live as Screen
from rich.text import Text

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.folded_table import folded_table
from mnist_lab.cli.runs.listing import cell
from mnist_lab.errors import ConfigError, InputError, printable
from mnist_lab.report.live import Live
from mnist_lab.report.read_runs import Entry
from mnist_lab.runs.directory import OUTPUTS
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.progress import Beat, epoch_text
from mnist_lab.runs.summary import counted, metric_text

_EVERY = 0.65  # seconds between two looks; a run writes every 0.2, and lags by a second at most


def watch(arguments: list[str]) -> None:
    """Show a live table of runs and sweeps until q or Ctrl-C."""
    parser = Parser(
        "mnist-lab runs watch",
        description="A live table of the runs and sweeps in or below some folders: what runs comes "
        "first, with its epoch, the metric that it is judged by, and the time that is left. It "
        "only reads; q or Ctrl-C ends it.",
    )
    parser.add_argument("places", nargs="*", metavar="DIR", help=f"folders, else {OUTPUTS}")
    places = list(map(Path, parser.parse_intermixed_args(arguments).places or [OUTPUTS]))
    for place in places:
        if not os.path.isdir(place):
            raise InputError(f"{place}: no such directory; give those of runs or sweeps")
    console = Console()
    if not console.is_terminal:
        raise ConfigError("mnist-lab runs watch: needs a terminal; mnist-lab runs prints a list")
    live = Live(places)
    for number in (signal.SIGINT, signal.SIGTERM):  # the screen is put back at the end
        signal.signal(number, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        _keys() as pressed,
        Screen(console=console, screen=True, auto_refresh=False) as screen,
    ):
        shown: tuple[object, ...] = ()
        while True:
            # The time of what runs goes on, and what has ended gets older minute by minute.
            now = (live.look(), console.size, int(time.time() / 60))
            if now[0] or now[1:] != shown:
                shown = now[1:]
                screen.update(table(live, console.width, console.height), refresh=True)
            if pressed(_EVERY) in ("q", "Q", "\x03"):
                return


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits for a key for some seconds, and returns it or an empty text."""
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    stream = sys.stdin.fileno()
    before = termios.tcgetattr(stream)

    def pressed(seconds: float) -> str:
        if select.select([stream], [], [], seconds)[0]:
            return os.read(stream, 1).decode(errors="replace")
        return ""

    try:
        tty.setcbreak(stream)
        yield pressed
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def table(live: Live, width: int, height: int) -> Text:
    """Return what the screen shows: a line about all, then as many rows as there is room for."""
    counts, rows = live.states(), live.rows[:height]
    states = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    lines = [f"{counted(counts.total(), 'run')}: {states}" if counts else "no runs yet"]
    monitors = {row.monitor for row in rows}
    metric = printable(monitors.pop()) if len(monitors) == 1 else "metric"
    names = ("run", "state", "epoch", metric, "best", "steps/s", "time")
    texts = [_texts(row, live.beat(row), has_name=metric == "metric") for row in rows]
    lines += folded_table(names, texts, width, names[2:]) if texts else []
    if len(lines) > height - 1:
        lines = [*lines[: height - 2], "…"]
    return Text("\n".join([*lines, "q ends it"]), no_wrap=True, overflow="crop")


def _texts(row: Entry, beat: Beat | None, has_name: bool) -> Sequence[str]:
    """Return a row of the table: of what has ended, its result is the best."""

    def result(value: float | None) -> str:
        text = metric_text(row.monitor, value)
        return f"{row.monitor} {text}" if text and has_name else text

    name, metric, best = str(row.path), "", result(row.value("monitored"))
    epoch = rate = ""
    ago = f"{cell('age', row.value('age'))} ago" if row.state != RunState.RUNNING else ""
    if row.trials:
        counts = Counter(trial.state for trial in row.trials)
        done = len(row.trials) - counts[RunState.RUNNING]
        epoch = f"{done}/{counted(len(row.trials), 'trial')}"
        if beat is not None:
            epoch += f", {beat.trials} stacked at epoch "
    if beat is not None:
        epoch += f"{epoch_text(beat.epoch, beat.max_epochs)} {beat.share:4.0%}"
        rate = f"{beat.steps_per_second:,.0f}"
        metric = result(beat.metrics.get(row.monitor))
        best = result(beat.metrics.get(f"best/{row.monitor}")) or best
        if beat.seconds_left:
            ago = f"{timedelta(seconds=round(beat.seconds_left))} left"
    return [printable(text) for text in (name, row.state, epoch, metric, best, rate, ago)]
