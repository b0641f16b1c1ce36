"""Threads that give way: they wait asleep while other processes want the cores, else in a loop.

Threads of GNU's OpenMP wait for one another in a loop, which is the fastest way where the cores are
the run's alone, and takes them from the thread that is waited for where they are not. How long they
loop is fixed when torch is imported, with one exception: a process that has more such threads than
there are cores waits asleep nearly at once. So while the kernel says that a thread of this process
queues for a core, some more are kept, which do nothing. It goes by the one that queues longest: a
hundred threads that each write a line now and then are no reason.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from mnist_lab.training.cores import SPINS, given_cores

_TASKS = Path("/proc/self/task")
_SECONDS = 0.2  # between two looks
_BUSY, _QUIET = 0.15, 0.05  # of the time, of the thread that queues longest
_LOOKS = 10  # without a queue, before threads loop again
_MOST = 8  # idle groups of threads


@contextlib.contextmanager
def gives_way() -> Iterator[None]:
    """Watch over the cores meanwhile, unless a user has set how threads wait."""
    cores, threads = given_cores(), torch.get_num_threads()
    is_ours = os.environ.get("GOMP_SPINCOUNT") == SPINS and "OMP_WAIT_POLICY" not in os.environ
    groups = (cores - threads) // (threads - 1) + 1 if threads > 1 else 0
    if not is_ours or not 1 <= groups <= _MOST or _queued() is None:
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(ended, groups), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _watch(ended: threading.Event, groups: int) -> None:
    """Keep idle groups of threads while this process's threads queue, until it has ended."""
    queued, since, quiet, is_asleep = _queued() or {}, time.monotonic(), 0, False
    with contextlib.ExitStack() as idle:
        while not ended.wait(_SECONDS):
            before, then = queued, since
            queued, since = _queued() or {}, time.monotonic()
            longest = max((queued[task] - before.get(task, 0.0) for task in queued), default=0.0)
            share = longest / (since - then)
            quiet = quiet + 1 if share < _QUIET else 0
            if not is_asleep and share > _BUSY:
                idle.enter_context(_idle_groups(groups))
                is_asleep = True
            elif is_asleep and quiet > _LOOKS:
                idle.close()
                is_asleep = False


@contextlib.contextmanager
def _idle_groups(count: int) -> Iterator[None]:
    ended = threading.Event()
    threads = [
        threading.Thread(target=_idle_group, args=(ended,), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _idle_group(ended: threading.Event) -> None:
    """Have OpenMP start threads of this thread's own; they end with it."""
    torch.zeros(torch.get_num_threads() << 16)  # so large that torch shares it out
    ended.wait()


def _queued() -> dict[str, float] | None:
    """Return for each thread the seconds it has queued; None if nobody counts them."""
    seconds = {}
    with contextlib.suppress(OSError):
        for task in _TASKS.iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                seconds[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return seconds or None
