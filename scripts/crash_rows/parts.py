"""What scripts/crash_test.py does to runs, a part each; each returns its counts."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from crash_rows.child import POINTS
from crash_rows.ranks import ranks
from crash_rows.runner import CASES, RECIPES, References, Run
from crash_rows.searches import searches
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.runs.directory import LAST, PREVIOUS
from mnist_lab.training.checkpoints.newest import newest

AT_ONCE = 2


def kills(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Kill at random instants of training, validation and test, half of them ten times a run."""

    def one(name: str, times: int) -> tuple[int, list[str]]:
        case = list(CASES)[_hash(name) % len(CASES)]
        run = Run(folder, case, name)
        window = references.seconds(case) / (times / 2 if times > 1 else 1)
        killed = sum(run.kill_within(window) for _ in range(times))
        run.finish()
        return killed, references.differences(run)

    half = _until(one, "ten", 10, count // 2)
    return _summed(half + _until(one, "one", 1, count - count // 2))


def each(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Kill a run of each case so often at random instants of its training."""
    return _each_of(CASES, folder, references, count)


def recipes(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Kill a short run of each record's recipe so often at random instants of its training."""
    return _each_of(RECIPES, folder, references, count)


def _each_of(
    cases: Iterable[str], folder: Path, references: References, count: int
) -> dict[str, Any]:
    def one(case: str, times: int) -> tuple[int, list[str]]:
        run = Run(folder, case, f"each_{case}")
        window = references.seconds(case) * min(0.8, 2 / times)
        killed = sum(run.kill_within(window) for _ in range(times))
        run.finish()
        return killed, references.differences(run)

    return _summed(_all(one, [(case, count) for case in cases]))


def saves(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Kill at the named points of a save, twenty times a run, with $TMPDIR on another disk."""
    elsewhere = _other_file_system(folder)
    unreadable: list[str] = []

    def one(name: str, times: int) -> tuple[int, list[str]]:
        case = list(CASES)[_hash(name) % len(CASES)]
        run = Run(folder, case, name, environment={"TMPDIR": elsewhere})
        killed = 0
        for number in range(times):
            point = POINTS[number % len(POINTS)]
            process = run.start(CRASH_AT=f"{point}:{random.randint(1, 2)}")
            process.join()
            killed += process.exitcode == -9
            had_one = (run.run_dir / LAST).exists() or (run.run_dir / PREVIOUS).exists()
            for path in (LAST, PREVIOUS):
                if (run.run_dir / path).exists():
                    try:
                        read_checkpoint(run.run_dir / path)
                    except ValueError as error:
                        unreadable.append(str(error))
            assert not had_one or newest(run.run_dir)
        run.finish()
        return killed, references.differences(run)

    return _summed(_until(one, "save", 20, count)) | {"tmpdir": elsewhere, "unreadable": unreadable}


def signals(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Ask to end with SIGTERM and with SIGINT, at random instants of training."""

    def one(name: str, _: int, signum: int) -> tuple[int, list[str]]:
        case = list(CASES)[_hash(name) % len(CASES)]
        # No checkpoint by steps or time, so that the newest is the one that the signal asked for.
        own = [
            "callbacks.checkpoint.every_n_steps=null",
            "callbacks.checkpoint.every_n_seconds=null",
        ]
        run = Run(folder, case, name, options=own)
        wait = random.uniform(0, references.seconds(case) * 0.6)
        process = run.start()
        run.until_batches(process, 0)
        time.sleep(wait)
        if not process.is_alive():
            return 0, []  # it was over before
        os.kill(process.pid or 0, signum)
        process.join()
        if process.exitcode == 0:
            return 0, []
        found = newest(run.run_dir)
        batches = run.num_batches()
        problems = []
        if process.exitcode != 128 + signum:
            problems.append(f"exit {process.exitcode}")
        snapshot = found[1]["mnist_lab"] if found else {"total_batches": 0}
        behind = batches - snapshot["total_batches"]
        accumulated = 3 if case == "accumulate" else 1
        if not 0 <= behind < accumulated:
            problems.append(f"checkpoint {behind} batches old")
        run.finish()
        return 1, problems + references.differences(run)

    results = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        results += _until(partial(one, signum=signum), signum.name, 1, count)
    return _summed(results)


def disk(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Fill the disk of the run, of $TMPDIR or of the event files while it trains; needs root."""
    mount = folder / "small_disk"
    results: dict[str, Any] = {}
    for place in ("output", "temp", "log"):
        problems: list[str] = []
        codes: Counter[int] = Counter()
        for number in range(count):
            mount.mkdir(exist_ok=True)
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(mount)], check=True
            )
            try:
                codes[_on_full_disk(folder, references, mount, place, number, problems)] += 1
            finally:
                subprocess.run(["umount", "-l", str(mount)], check=True)
        results[place] = {"exit_codes": dict(codes), "problems": problems}
    return results


def _on_full_disk(
    folder: Path, references: References, mount: Path, place: str, number: int, problems: list[str]
) -> int:
    case = list(CASES)[number % len(CASES)]
    name = f"disk_{place}_{number}"
    run = Run(mount if place == "output" else folder, case, name)
    if place == "temp":
        run.environment["TMPDIR"] = str(mount)
    if place == "log":
        run.options.append(f"logger.tensorboard.save_dir={mount}")
    wait = random.uniform(0.1, references.seconds(case) * 0.5)
    process = run.start()
    run.until_batches(process, 0)
    time.sleep(wait)
    room = shutil.disk_usage(mount).free - random.randint(0, 3) * 1024
    filler = mount / "filler"
    with contextlib.suppress(OSError), open(filler, "wb") as file:  # full is what is wanted
        file.write(bytes(max(0, room)))
    process.join()
    code = process.exitcode or 0
    if code not in (0, 5) or "Traceback" in run.output.read_text():
        problems.append(f"{name}: exit {code}: {run.output.read_text()[-800:]}")
    newest(run.run_dir)
    filler.unlink()
    if code:
        run.finish()
    found = references.differences(run)
    if place == "log":
        found = [one for one in found if one != "scalars"]
    if found:
        problems.append(f"{name}: {found}")
    return code


def races(folder: Path, references: References, count: int) -> dict[str, Any]:
    """Start two processes on one run directory at once: one trains, the other gets exit 6."""

    def one(name: str, _: int) -> tuple[int, list[str]]:
        run = Run(folder, "mlp", name)
        processes = [run.start(), run.start()]
        for process in processes:
            process.join()
        codes = sorted(process.exitcode or 0 for process in processes)
        problems = [] if codes == [0, 6] else [f"exit {codes}"]
        return 0, problems + references.differences(run)

    return _summed([one(f"race_{number}", 0) for number in range(count)])


def _hash(name: str) -> int:
    """Return a number that follows from a name, in every process."""
    return sum(name.encode())


def _all(one: Any, arguments: list[tuple[str, int]]) -> list[tuple[int, list[str]]]:
    def told(pair: tuple[str, int]) -> tuple[int, list[str]]:
        try:
            killed, problems = one(*pair)
        except RuntimeError as error:  # the other runs go on
            killed, problems = 0, [str(error)]
        return killed, [f"{pair[0]}: {problem}" for problem in problems]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(told, arguments))


def _until(one: Any, kind: str, times: int, count: int) -> list[tuple[int, list[str]]]:
    """Break off runs, each so many times, until there were ``count`` that were not over before."""
    results: list[tuple[int, list[str]]] = []
    while (left := count - sum(killed for killed, _ in results)) > 0:
        start, number = len(results), -(-left // times)
        results += _all(one, [(f"{kind}_{start + i}", min(times, left)) for i in range(number)])
    return results


def _summed(results: list[tuple[int, list[str]]]) -> dict[str, Any]:
    problems = [problem for _, found in results for problem in found]
    return {
        "runs": len(results),
        "killed": sum(killed for killed, _ in results),
        "different": sum(bool(found) for _, found in results),
        "problems": problems,
    }


def _other_file_system(folder: Path) -> str:
    for place in ("/dev/shm", "/run", "/tmp", str(Path.home())):
        if os.path.isdir(place) and os.stat(place).st_dev != folder.stat().st_dev:
            return place
    raise RuntimeError("there is no other file system for $TMPDIR")


PARTS = {
    "kills": kills,
    "each": each,
    "recipes": recipes,
    "saves": saves,
    "signals": signals,
    "disk": disk,
    "ranks": ranks,
    "races": races,
    "searches": searches,
}


def has_problems(found: Any) -> bool:
    """Return whether a part's counts, or any within them, name a problem."""
    if not isinstance(found, dict):
        return False
    return bool(found.get("problems")) or any(map(has_problems, found.values()))


def write(path: Path, report: dict[str, Any]) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n")
