"""Signals that ask a run to end."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from mnist_lab.errors import Stopped
from mnist_lab.runs import signals


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_outside_of_training_a_signal_ends_a_run_at_once(signum: int, code: int) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stopped, signals.signals_end_run():
        os.kill(os.getpid(), signum)
    assert stopped.value.code == code
    assert signal.getsignal(signum) is before


def train(*signums: int, noted: list[int]) -> None:
    """Train, and receive signals meanwhile."""
    with signals.signals_end_run(), signals.until_next_step() as is_handled:
        assert is_handled
        for signum in signums:
            os.kill(os.getpid(), signum)
            noted.append(signals.noted())


def test_in_training_the_first_one_is_noted_and_the_second_ends_it() -> None:
    noted: list[int] = []
    with pytest.raises(Stopped) as stopped:
        train(signal.SIGTERM, signal.SIGINT, noted=noted)
    assert noted == [signal.SIGTERM]
    assert stopped.value.code == 130
    assert signals.noted() == 0  # for the next run of the process


def test_one_that_came_after_the_last_step_ends_the_run() -> None:
    noted: list[int] = []
    with pytest.raises(Stopped) as stopped:
        train(signal.SIGTERM, noted=noted)
    assert noted == [signal.SIGTERM]
    assert stopped.value.code == 143


def test_a_terminal_may_close_that_nohup_has_left() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.signals_end_run():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.noted() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_ends_with_the_one_that_started_it() -> None:
    child = """\
import os, time
from mnist_lab.runs import signals
leader = os.getppid()
signals.end_when(lambda: os.getppid() != leader)
print(os.getpid(), flush=True)
time.sleep(60)
"""
    code = f"""\
import subprocess, sys, time
child = {child!r}
subprocess.Popen([sys.executable, "-c", child])
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip().isdigit()
        parent.kill()
        assert parent.stdout.read() == b""  # which lasts until the child has ended


def test_another_thread_handles_none() -> None:
    handled = []

    def in_thread() -> None:
        with signals.signals_end_run(), signals.until_next_step() as is_handled:
            handled.append(is_handled)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert handled == [False]


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}, "7_2"),
        ({"SLURM_JOB_ID": "7; rm"}, None),
    ],
)
def test_a_job_of_slurm_is_started_again(
    variables: dict[str, str], job: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: called.append(command))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    signals.requeue()
    assert called == ([["scontrol", "requeue", job]] if job else [])


@pytest.mark.parametrize(("signum", "asked"), [(signal.SIGUSR1, 1), (signal.SIGTERM, 0)])
def test_only_the_signal_before_the_time_limit_requeues(
    signum: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[None] = []
    monkeypatch.setattr(signals, "requeue", lambda: called.append(None))
    with pytest.raises(Stopped), signals.requeues():
        raise Stopped(signum)
    assert len(called) == asked
