"""The ``mnist-lab`` command: picks the verb. It imports nothing heavier than Hydra."""

import atexit
import codecs
import contextlib
import difflib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from typing import Any

from mnist_lab import __version__
from mnist_lab.errors import ConfigError, InputError, LabError, Stopped, printable

_OF_PLACES = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}  # which a path that is typed may have

VERBS = {
    "train": "train a model; with -m, one for each combination of values",
    "resume": "resume a run or sweep that was stopped, to the same bits",
    "verify": "run a run again, and say whether its figures and weights are the same",
    "evaluate": "evaluate a run's best checkpoint again",
    "card": "write a model card: figures by class, calibration, corruptions",
    "report": "a leaderboard over any set of runs and sweeps, and a page of them",
    "runs": "list and find runs and sweeps, and tag them",
    "predict": "recognise the digits in images of your own",
    "serve": "open a page on which to draw digits and see what runs make of them",
    "export": "write a run's model as ONNX or for torch.export, checked",
    "schema": "print the JSON Schema of the config files, by which editors check them",
    "new": "write a small project with a model, data, a metric and a callback of your own",
}
_PLAIN = str.maketrans({"±": "+-", "…": "...", "─": "-"})  # where an encoding lacks them
_TRAINING = ("train", "resume", "verify")


class _Pipe(io.FileIO):
    """A standard stream that drops what is written once its reader has gone, as ``| head`` does."""

    def write(self, data: Any) -> int:
        """Write bytes, and return their number."""
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(null := os.open(os.devnull, os.O_WRONLY), self.fileno())
            os.close(null)
            return memoryview(data).nbytes


def command(arguments: list[str] | None = None) -> int:
    """Run ``mnist-lab``, and end its process without taking half a million objects apart first.

    Threads have ended and every other exit function has run by then, as this one is the first to be
    registered; what remains of Python's own way out frees memory, for a second or so.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    if arguments and arguments[0] in _TRAINING:
        _outlive_readers()
    codes: list[int] = []
    atexit.register(_end_with, codes)
    codes.append(main(arguments))
    return codes[0]


def _open_streams() -> None:
    """Open the null device for standard streams that the starter closed, as some schedulers do.

    Python has None for them, and the next file that is opened would get the number of one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(null := os.open(os.devnull, os.O_RDWR), number)
            if null != number:
                os.close(null)
            stream = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, stream)


def _outlive_readers() -> None:
    """Have training go on when whoever reads its output goes away; whatever prints there."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream.flush()
            pipe: Any = _Pipe(stream.fileno(), "w", closefd=False)
            is_unbuffered = isinstance(stream.buffer, io.RawIOBase)  # PYTHONUNBUFFERED is set
            lasting = io.TextIOWrapper(
                pipe if is_unbuffered else io.BufferedWriter(pipe),
                stream.encoding,
                stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, lasting)


def _end_with(codes: list[int]) -> None:
    if codes:  # else an error is on its way out
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(codes[0])


def main(arguments: list[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    before = {
        number: signal.signal(number, _end_at_once)
        for number in (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is threading.main_thread()
    }
    try:
        return _main(arguments)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once(signum: int, _: object) -> None:
    """End before a run has begun to write; an exception would abort Python while torch loads."""
    print(f"mnist-lab: stopped by {signal.Signals(signum).name}", file=sys.stderr, flush=True)
    os._exit(128 + signum)


def _main(arguments: list[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if os.environ.get("SLURM_STEP_NUM_TASKS", "1") == "1":
        # Salloc and sbatch say how many tasks srun may start; Lightning would wait for so many.
        os.environ.pop("SLURM_NTASKS", None)
    _admit_every_character()
    verb = arguments[0] if arguments else "--help"
    if "query=bash" in arguments:
        return _complete()
    if verb in ("-h", "--help"):
        print(_usage())
        return 0
    if verb == "--version":
        print(_version())
        return 0
    name = f"mnist-lab {verb}" if verb in VERBS else "mnist-lab"
    try:
        if verb not in VERBS:
            near = difflib.get_close_matches(verb, VERBS, n=1)
            hint = f"did you mean {near[0]}?" if near else "mnist-lab --help says more"
            raise ConfigError(f"{verb}: must be one of {', '.join(VERBS)}; {hint}")
        module = importlib.import_module(f"mnist_lab.cli.{verb}")
        code = int(module.main(arguments[1:]) or 0)
        sys.stdout.flush()
        return code
    except LabError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever read the output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _OF_PLACES or error.filename is None:
            raise
        place = printable(str(error.filename))
        print(f"{name}: {place}: cannot be opened: {error.strerror}", file=sys.stderr)
        return InputError.exit_code
    except Stopped as stopped:
        print(f"{name}: stopped by {stopped.name}", file=sys.stderr)
        return int(str(stopped.code))


def _version() -> str:
    """Return the version, and the commit where the code is a git checkout."""
    from mnist_lab.runs.manifest import git_state

    state = git_state()
    if state is None:
        return f"mnist-lab {__version__}"
    changed = " with changes" if state["diff_sha256"] else ""
    return f"mnist-lab {__version__} ({str(state['commit'])[:12]}{changed})"


def _admit_every_character() -> None:
    """Have standard output take what its encoding lacks, in other signs, as standard error does."""
    codecs.register_error("mnist_lab", _in_plain_signs)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="mnist_lab")


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {text}" for verb, text in VERBS.items())
    return (
        f"usage: mnist-lab COMMAND ...\n\n{verbs}\n\n"
        "mnist-lab COMMAND --help says more; mnist-lab --version is the version."
    )


def _complete() -> int:
    """Print what may come next on the line that bash asks about: a verb here, else from Hydra."""
    program, *words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) < 2:
        print(" ".join(VERBS))
    elif words[0] == "train":
        # Hydra's completion knows a program and its overrides, but no verbs.
        os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
        from mnist_lab.cli import train

        # A line that does not compose yet has nothing to offer, and no error to print either.
        with contextlib.suppress(LabError, SystemExit), contextlib.redirect_stderr(io.StringIO()):
            train.main(["-sc", "query=bash"])
    return 0
