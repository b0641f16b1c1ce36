"""Signals that ask a run to end: it saves its state, and ends with the usual exit code.

During training a signal is only noted, and acted on before the next step, where nothing is half
done. Anywhere else, and on the second signal, it ends the run at once.
"""

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from mnist_lab.errors import Stopped

_log = logging.getLogger(__name__)
_LOOK = 0.5  # seconds between two looks at what a process ends with
_noted: signal.Signals | None = None
_is_training = False


def noted() -> int:
    """Return the number of the signal that was received; 0 for none."""
    return int(_noted or 0)


@contextlib.contextmanager
def signals_end_run() -> Iterator[None]:
    """End what runs within on a signal; in the main thread only.

    The signals are SIGINT, SIGTERM, SIGHUP (a closed terminal) unless nohup has it ignored, and
    under SLURM SIGUSR1.

    Raises:
        Stopped: one was received.
    """
    global _noted
    _noted = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    if "SLURM_JOB_ID" in os.environ:
        signals.append(signal.SIGUSR1)  # what `sbatch --signal=USR1@90` sends before the time is up
    before = {signum: signal.signal(signum, _handle) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _noted = None  # which ended this run, and not the next one of the process


@contextlib.contextmanager
def until_next_step() -> Iterator[bool]:
    """Only note the first signal that is received within, which training checks before each step.

    Yields:
        Whether ``signals_end_run`` handles signals, which it does in the main thread alone.

    Raises:
        Stopped: a signal was received after the last step.
    """
    global _is_training
    if signal.getsignal(signal.SIGTERM) is not _handle:
        yield False
        return
    _is_training = True
    try:
        yield True
    finally:
        _is_training = False
    if _noted is not None:
        raise Stopped(_noted)


def _handle(signum: int, _: FrameType | None) -> None:
    global _noted
    is_first, _noted = _noted is None, signal.Signals(signum)
    if not (_is_training and is_first):
        raise Stopped(signum)


def end_when(is_over: Callable[[], bool], patience: float = 0.0) -> None:
    """Have this process end within a second of something, whatever it is doing.

    Args:
        is_over: whether what the process depends on has ended.
        patience: seconds after SIGTERM that it has to save and to end; 0 ends it at once.
    """

    def watch() -> None:
        while not is_over():
            time.sleep(_LOOK)
        if patience:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(patience)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def requeues() -> Iterator[None]:
    """Ask SLURM to start this job again if its signal before the time limit ends what runs within.

    Raises:
        Stopped: a signal has.
    """
    try:
        yield
    except Stopped as stopped:
        if stopped.name == "SIGUSR1":
            requeue()
        raise


def requeue() -> None:
    """Ask SLURM to start this job again, which then resumes in the same run directory."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if not re.fullmatch(r"\d+(_\d+)?", job):
        _log.warning("SLURM_JOB_ID=%s: not a job's number; it is not requeued", job)
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=30)
        _log.warning("SLURM job %s is requeued", job)
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("SLURM job %s could not be requeued: %s", job, error)
