"""Records what must not change from one version to the next, and compares with the record.

tests/golden/README.md says what is recorded, and where bits are compared and where figures.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from golden_rows.records import GOLDEN, compare, differences, key, write

# Before torch is imported: what bits depend on.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_CBWR": "AUTO,STRICT"}

ROOT = Path(__file__).resolve().parents[1]
DIRECTORIES = GOLDEN / "directories"
SHORT = "seed=0 trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=100 "
# Else convolutions would be in bf16 where a processor has it.
SHORT += "trainer.precision=32-true trainer.enable_model_summary=false"
OF_RECORDS = "^record_|speedrun_995|global_pool_cnn"
WITHOUT_NET = "module"  # the choice of model= that is nothing without a class of one's own
# A record without validation saves by the clock alone, on a slow machine once more.
BY_NO_CLOCK = "callbacks.checkpoint.every_n_seconds=null"
# Recipes whose epochs are counted in steps.
IN_STEPS = "trainer.max_steps=200 trainer.val_check_interval=100 trainer.max_epochs=-1"
TINY = "trainer=cpu trainer.enable_model_summary=false trainer.log_every_n_steps=20 "
SWEEP = f"{TINY} ~callbacks.pictures model=softmax optimizer=sgd trainer.limit_val_batches=2 "
GRID = f"train -m {SWEEP} trainer.max_epochs=2 trainer.limit_train_batches=150 "
GRID += "optimizer.lr=1e-3,1e-2 seed=1,2"
SEARCH = f"train -m {SWEEP} trainer.max_epochs=2 trainer.limit_train_batches=100 "
SEARCH += "hydra.sweeper.n_trials=6 hydra.sweeper.sampler_options={n_startup_trials:2} "
SEARCH += "'optimizer.lr=tag(log,interval(1e-4,1e-1))' model.init=choice(default,zeros,normal)"
RUN = f"{TINY} trainer.max_epochs=1 trainer.limit_train_batches=200"
MADE = {
    "softmax": f"train model=softmax optimizer=sgd {RUN} ~callbacks.pictures",
    "mlp": f"train model=mlp model.hidden_dims=[8] model.dropout=0.1 {RUN} ~callbacks.pictures",
    "cnn": f"train model=cnn model.channels=[2,4] model.hidden_dims=[8] {RUN} ~callbacks.pictures",
    "stopped": "train model=mlp model.hidden_dims=[8] model.batch_norm=true model.dropout=0.1 "
    f"data.augment=affine optimizer=sgd optimizer.momentum=0.9 {TINY} trainer.max_epochs=3 "
    "trainer.limit_train_batches=300 callbacks.checkpoint.every_n_steps=70",
    "grid": GRID,
    "grid_fused": f"{GRID} hydra/launcher=fused callbacks.checkpoint.every_n_steps=40",
    "search": SEARCH,
    "search_fused": f"{SEARCH} hydra/launcher=fused hydra.launcher.max_stack=2",
}
"""What made each directory, in the words of version 0.1.0."""
MADE_BY_0_2_0 = {
    "run_0.2.0": f"train model=mlp model.hidden_dims=[8] callbacks=ema metrics=f1 {RUN} "
    "~callbacks.pictures name=small tags=[kept]",
    "stopped_0.2.0": "train model=cnn model.channels=[2,4] model.hidden_dims=[8] metrics=f1 "
    f"data.augment=[affine,cutout] scheduler=warmup_cosine {TINY} trainer.max_epochs=2 "
    "trainer.limit_train_batches=150 ~callbacks.pictures callbacks.checkpoint.every_n_steps=70",
    "fused_0.2.0": f"{GRID} hydra/launcher=fused callbacks.checkpoint.every_n_steps=40",
}
"""The same of version 0.2.0, with what it has that is kept: averages, metrics, names, a stack's."""
# When a run or a sweep is stopped: once so many files of a kind are there.
STOPPED = {
    "stopped": ("checkpoints/last.ckpt", 1),
    "grid": ("*/metrics.json", 2),
    "grid_fused": ("*/checkpoints/last.ckpt", 4),
    "search": ("*/metrics.json", 3),
    "search_fused": ("*/metrics.json", 3),
    "stopped_0.2.0": ("checkpoints/last.ckpt", 1),
    "fused_0.2.0": ("*/checkpoints/last.ckpt", 4),
}


def main() -> int:
    """Record or compare, and print what differs; return 1 where something does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["record", "compare"])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; record: lines and runs")
    parser.add_argument("--only", default="", help="a regular expression: those runs alone")
    options = parser.parse_args()
    # The directories stay those of an older version, unless somebody asks for new ones.
    parts = options.parts or [*PARTS][: None if options.verb == "compare" else 3]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(PARTS)}")
    problems = []
    for part in PARTS:  # lines first: there torch is not imported yet
        if part in parts:
            make = PARTS[part]
            if options.verb == "record":
                write(part, make(None, options.only), options.only)
            else:
                problems += compare(part, make, options.only)
    print("\n".join(problems) or "nothing differs")
    return 1 if problems else 0


def lines(recorded: dict[str, Any] | None, only: str) -> dict[str, Any]:
    """Return the exit code and the line of each command of tests/cli/bad_configs.yaml."""
    sys.path.insert(0, str(ROOT / "tests"))
    from bad_inputs import BAD, make_folder  # type: ignore[import-not-found]

    late = {row["command"] for row in BAD if row.get("late")}  # Lightning or torch refuses it
    commands = list(recorded["found"]) if recorded else [row["command"] for row in BAD]
    found = {}
    with temporary() as folder:
        make_folder(folder)
        os.environ["EVIL"] = "os.system"
        for command in sorted(filter(re.compile(only).search, commands), key=late.__contains__):
            allowed = contextlib.nullcontext() if command in late else without("torch", "lightning")
            with allowed:
                try:
                    code, _, err = call(command)
                except ImportError:  # nothing was found wrong
                    code, err = 0, "(the run starts)"
                except Exception as error:
                    code, err = 1, f"{type(error).__name__}: {error}"
            found[command] = {"code": code, "line": err.strip().replace(str(folder), "FOLDER")}
    return {"key": None, "found": found}


def runs(recorded: dict[str, Any] | None, only: str, of_records: bool = False) -> dict[str, Any]:
    """Train each recipe and each model for a few hundred steps, and return what came of it.

    Those of the records, which came later, are a part of their own.
    """
    commands = {}
    for group in ("experiment", "model"):
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            command = f"train {group}={path.stem} {SHORT}"
            if "max_steps" in path.read_text() or path.stem == "tf_deep_relu":
                command += f" {IN_STEPS}"
            if path.stem.startswith("record_"):
                command += f" {BY_NO_CLOCK}"
            if path.stem == WITHOUT_NET:
                continue
            if bool(re.search(OF_RECORDS, path.stem)) == of_records:
                commands[f"{group}={path.stem}"] = command
    found = {}
    for name, command in commands.items():
        if re.search(only, name):
            trained = trained_by(command)
            if recorded and recorded["key"] != key() and differences(trained, trained_by(command)):
                trained = {"differs": "from one run to the next"}
            found[name] = {"command": command} | trained
    return {"key": key(), "found": found}


def trained_by(command: str) -> dict[str, Any]:
    """Train in a temporary folder, and return what the run has left."""
    with temporary() as folder:
        done("run", f"{command} hydra.run.dir=run")
        return outcome(folder / "run") | {"tags": tags(folder / "run")}


def directories(
    recorded: dict[str, Any] | None, only: str, made: dict[str, str] = MADE
) -> dict[str, Any]:
    """Return what becomes of each kept directory; make them anew where nothing is compared.

    Those that are finished are evaluated, and run again by ``verify``; the others are resumed to
    what the same command leaves that nothing stopped. A report reads all of them.
    """
    found: dict[str, Any] = {}
    if recorded is None:
        for name in filter(re.compile(only).search, made):
            make_directory(name, made[name])
    with temporary() as folder:
        for name in filter(re.compile(only).search, made):
            place = "hydra.sweep.dir" if " -m " in made[name] else "hydra.run.dir"
            if recorded is None:
                done(name, f"{made[name]} {place}={name}")
            else:
                shutil.copytree(DIRECTORIES / name, folder / name)
                if name in STOPPED:
                    done(name, f"resume {name}")
                elif recorded["key"] == key():
                    done(name, f"verify {name}")
            found[name] = outcome(folder / name)
            if name not in STOPPED:
                found[name]["evaluate"] = json.loads(done(name, f"evaluate {name} --json"))
        rows = json.loads(done("report", f"report {' '.join(found)} --json"))["rows"]
        rows = [plain(row) for row in rows]
    if not only:
        found["report"] = {"rows": sorted(rows, key=lambda row: str(sorted(row.items())))}
    return {"key": key(), "found": found}


def make_directory(name: str, command: str) -> None:
    """Train in a process of its own, and stop it half-way where the directory is one of those."""
    DIRECTORIES.mkdir(exist_ok=True)
    shutil.rmtree(DIRECTORIES / name, ignore_errors=True)
    place = "hydra.sweep.dir" if " -m " in command else "hydra.run.dir"
    code = "import sys; from mnist_lab.cli import main as m; sys.exit(getattr(m, 'main', m)())"
    words = shlex.split(f"{command} {place}={name}")
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=DIRECTORIES)
    if name in STOPPED:
        pattern, count = STOPPED[name]
        while len([*(DIRECTORIES / name).glob(pattern)]) < count and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
    expected = 143 if name in STOPPED else 0
    if process.wait() != expected:
        raise SystemExit(f"{name}: exit {process.returncode}, not {expected}")


def outcome(folder: Path) -> dict[str, Any]:
    """Return the files below a folder, and of each run there its state, hashes and metrics."""
    found: dict[str, Any] = {"files": files(folder), "runs": {}}
    for path in sorted(folder.rglob("manifest.json")):
        manifest = json.loads(path.read_text())
        metrics = path.with_name("metrics.json")
        found["runs"][str(path.parent.relative_to(folder))] = {
            "state": manifest["state"],
            "data": manifest.get("data"),
            "sha256": manifest.get("sha256"),
            "metrics": plain(json.loads(metrics.read_text())) if metrics.exists() else None,
        }
    return found


def files(folder: Path) -> list[str]:
    """Return the paths of files, an event file without what is not the same twice in its name."""
    paths = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return sorted({re.sub(r"(tfevents)\.[^/]+", r"\1", path) for path in paths})


def tags(folder: Path) -> dict[str, Any]:
    """Return TensorBoard's tags by kind; of scalars also the number of points."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    kinds = events.Tags()
    points = {tag: len(events.Scalars(tag)) for tag in sorted(kinds.pop("scalars"))}
    return {"scalars": points} | {
        kind: sorted(value) if isinstance(value, list) else value for kind, value in kinds.items()
    }


def plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics or a report's row without what a clock or a path says."""
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def call(command: str) -> tuple[int, str, str]:
    """Run ``mnist-lab`` in this process, and return its exit code, output and errors."""
    from mnist_lab.cli import main as cli  # a function in version 0.1.0, now a module

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            call: Any = getattr(cli, "main", cli)
            code = call(shlex.split(command))
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
    return code, out.getvalue(), err.getvalue()


def done(name: str, command: str) -> str:
    """Run a command that has to go well, and return what it printed."""
    print(f"{name}: mnist-lab {command}", file=sys.stderr)
    code, out, err = call(command)
    if code:
        raise SystemExit(f"{name}: mnist-lab {command}: exit {code}\n{out}{err}")
    return out


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """Work in a temporary folder."""
    name = tempfile.mkdtemp(prefix="mnist_lab_golden_")
    try:
        with contextlib.chdir(name):
            yield Path(name)
    finally:
        shutil.rmtree(name)


@contextlib.contextmanager
def without(*modules: str) -> Iterator[None]:
    """Have it be an error to import these modules."""
    sys.modules |= dict.fromkeys(modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "lines": lines,
    "runs": runs,
    "runs_of_records": partial(runs, of_records=True),
    "directories": directories,
    "directories_0.2.0": partial(directories, made=MADE_BY_0_2_0),
}

if __name__ == "__main__":
    sys.exit(main())
