"""Parts of scripts/gpu_check; each yields rows as it finds them. Imports nothing heavy.

Every part runs the real command. A row has ``name``, ``figure`` and perhaps ``note``; ``wrong`` is
set where it is not as promised.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

SCRIPTS = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.stem for path in (SCRIPTS.parent / "conf" / "experiment").glob("*.yaml"))
PATIENCE = 300  # seconds that a command may take
LAUNCHERS = ("fused", "basic")
SWEEPS = {"experiment=tf_mlp_65_65": (256, 6), "model=cnn": (64, 4)}  # trials, fused and one by one
MANY = """
import sys, time
from mnist_lab import MLP, MNISTDataModule, train, train_many
data = MNISTDataModule(batch_size=100)
options = {"max_epochs": 3, "logger": False, "enable_checkpointing": False}
if len(sys.argv[1]) == 1:
    options |= {f"limit_{split}_batches": 2 for split in ("train", "val", "test")}
def seconds(count):
    start = time.monotonic()
    models = [MLP([65, 65]) for _ in range(count)]
    if count == 1:
        train(models[0], data, enable_progress_bar=False, enable_model_summary=False, **options)
    else:
        train_many(models, data, seeds=range(count), **options)
    return (time.monotonic() - start) / count
seconds(1)  # the first one has the device and the data to set up
print(seconds(int(sys.argv[1])), seconds(1))
"""  # prints the seconds of a model among so many, and of one alone
REPLAYED = """
import sys, torch
from mnist_lab import CNN, MLP, MNISTDataModule, train_many
from mnist_lab.training.stacked.cuda_graph import GraphedStep
data = MNISTDataModule(batch_size=100)
options = {"max_epochs": 1, "limit_train_batches": int(sys.argv[1]), "logger": False}
def weights(build):
    torch.manual_seed(0)
    models = [build() for _ in range(4)]
    train_many(models, data, seeds=range(4), stack="always", enable_checkpointing=False, **options)
    return [tensor.cpu() for model in models for tensor in model.state_dict().values()]
differ = 0
for build in (lambda: MLP([65], dropout=0.2), lambda: CNN([4, 8], dropout=0.2, batch_norm=True)):
    replayed, can = weights(build), GraphedStep.is_for
    GraphedStep.is_for = staticmethod(lambda device: False)
    differ += not all(map(torch.equal, replayed, weights(build)))
    GraphedStep.is_for = can
print(differ)
"""  # prints for how many of two networks a replayed step has not the bits of a launched one

Row = dict[str, Any]


class Place(NamedTuple):
    """Where a part works, and on what.

    Args:
        folder: an empty folder.
        is_small: the small form on the CPU.
    """

    folder: Path
    is_small: bool

    @property
    def options(self) -> list[str]:
        """What each training has on its command line."""
        if self.is_small:
            limits = [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
            return ["trainer=cpu", *limits]
        return ["trainer=gpu"]

    def lab(self, *words: str) -> str:
        """Run ``mnist-lab``."""
        return python(self.folder, "-m", "mnist_lab", *words)

    def train(self, name: str, *words: str) -> dict[str, float]:
        """Train, and return the metrics."""
        self.lab("train", *self.options, f"hydra.run.dir={name}", *words)
        return metrics(self.folder / name)


def recipes(place: Place) -> Iterator[Row]:
    """Every recipe trains, a few hundred steps each."""
    few = [] if place.is_small else ["trainer.limit_train_batches=300"]
    names = ["cnn", "record_softmax"] if place.is_small else RECIPES
    options = [*place.options, "trainer.max_epochs=1", *few]
    place.lab("train", "-m", f"experiment={','.join(names)}", *options, "hydra.sweep.dir=sweep")
    for path in sorted((place.folder / "sweep").glob("*/metrics.json")):
        name = names[int(path.parent.name)]
        found = metrics(path.parent)
        # A sealed test set is not read in a sweep, and recipes of records hold no images back.
        split = next(name for name in ("test", "val", "train") if f"{name}/acc" in found)
        yield {"name": name, "figure": f"{split} {found[f'{split}/acc']:.2%}", "note": _fit(found)}


def bits(place: Place) -> Iterator[Row]:
    """The same command gives the same bits, also after SIGKILL."""
    place.train("run", "model=cnn", "trainer.max_epochs=2")
    place.lab("verify", "run")
    yield {"name": "verify, CNN", "figure": "the same weights and figures"}
    differ = int(python(place.folder, "-c", REPLAYED, "5" if place.is_small else "100"))
    figure = f"{differ} of 2 networks differ from steps launched kernel by kernel"
    yield {"name": "CUDA graph of a stack", "figure": figure, "wrong": differ}
    report = place.folder / "crash.json"
    kills = 1 if place.is_small else 4
    script = str(SCRIPTS / "crash_test.py")
    python(place.folder, script, f"--kills={kills}", "--json", str(report))
    found = json.loads(report.read_text("utf-8"))["kills"]
    figure = f"{found['different']} of {found['killed']} kills changed something"
    yield {"name": "SIGKILL", "figure": figure, "wrong": found["different"]}


def precision(place: Place) -> Iterator[Row]:
    """The default CNN, channels last, in each precision."""
    for name in (
        ("32-true", "bf16-mixed") if place.is_small else ("32-true", "bf16-mixed", "16-mixed")
    ):
        found = place.train(name, "model=cnn", "trainer.max_epochs=2", f"trainer.precision={name}")
        yield {"name": name, "figure": f"{found['test/acc']:.2%}", "note": _fit(found)}


def memory(place: Place) -> Iterator[Row]:
    """Peak memory of the device in a default run, its data included."""
    for model in ("mlp", "cnn"):
        words = ["train", *place.options, f"model={model}", "trainer.max_epochs=1"]
        lines = (
            "import sys, torch\nfrom mnist_lab.cli.main import main\ncode = main(sys.argv[1:])\n"
            "if code: raise SystemExit(code)\n"
            "peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0\n"
            "print('peak', peak)"
        )
        out = python(place.folder, "-c", lines, *words, f"hydra.run.dir={model}")
        peak = int(out.split("peak ")[-1])
        yield {"name": model, "figure": f"{peak / 1e6:,.0f} MB"}


def speed(place: Place) -> Iterator[Row]:
    """Seconds an epoch beside a raw loop and bare Lightning; the loader alone."""
    rows = [f"step/{net}/{row}" for net in ("mlp_65", "cnn") for row in ("raw", "barebones", "lab")]
    yield from _benchmark(
        place, ["step/mlp_65/lab", "data/lab"] if place.is_small else [*rows, "data/lab"]
    )


def sweep(place: Place) -> Iterator[Row]:
    """Seconds a trial of a whole sweep, as one program and one after the other."""
    epochs = [] if place.is_small else ["trainer.max_epochs=3"]
    for network, counts in SWEEPS.items():
        name = network.partition("=")[2]
        whole, training = [], []  # seconds a trial, fused and one by one
        for launcher, count in zip(LAUNCHERS, (4, 2) if place.is_small else counts, strict=True):
            folder = f"{name}_{launcher}"
            words = [network, *place.options, *epochs, f"seed=range({count})"]
            start = time.monotonic()
            place.lab(
                "train", "-m", *words, f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder}"
            )
            whole.append((time.monotonic() - start) / count)
            runs = [metrics(path.parent) for path in (place.folder / folder).glob("*/metrics.json")]
            training.append(sum(run["time/fit"] for run in runs) / len(runs))
            note = f"{count} trials; {training[-1]:.3f} s of training each"
            yield {"name": f"{name}, {launcher}", "figure": f"{whole[-1]:.3f} s", "note": note}
        ratio, of_training = whole[1] / whole[0], training[1] / training[0]
        note = f"{of_training:.0f} times by the time of training"
        yield {"name": f"{name}, ratio", "figure": f"{ratio:.0f} times", "note": note}
    count = 4 if place.is_small else 256
    many, one = map(float, python(place.folder, "-c", MANY, str(count)).split())
    note = f"{many:.3f} s a model of {count} by train_many, {one:.3f} s by train"
    yield {"name": "in Python", "figure": f"{one / many:.0f} times", "note": note}


def speedrun(place: Place) -> Iterator[Row]:
    """To 99 % in one epoch."""
    found = place.train("run", "experiment=speedrun")
    yield {"name": "speedrun", "figure": f"{found['test/acc']:.2%}", "note": _fit(found)}


def ddp(place: Place) -> Iterator[Row]:
    """Two processes on one card (gloo), and all cards."""
    words = ["model=mlp", "model.dropout=0", "trainer.max_epochs=1"]
    alone = place.train("alone", *words)["test/acc"]
    _two_processes(place, words)
    found = metrics(place.folder / "two")["test/acc"]
    far = abs(found - alone) > 0.01
    yield {
        "name": "two processes, one card",
        "figure": f"{found:.2%}, alone {alone:.2%}",
        "wrong": far,
    }
    count = int(python(place.folder, "-c", "import torch; print(torch.cuda.device_count())"))
    if place.is_small or count < 2:
        yield {"name": "all cards", "figure": "not done", "note": f"{count} cards here"}
        return
    place.lab("train", "trainer=ddp", *words, "hydra.run.dir=all")
    found = metrics(place.folder / "all")["test/acc"]
    yield {"name": f"{count} cards", "figure": f"{found:.2%}", "wrong": abs(found - alone) > 0.01}


def use(place: Place) -> Iterator[Row]:
    """A run is evaluated, predicts and is exported."""
    trained = place.train("run", "model=cnn", "trainer.max_epochs=1")["test/acc"]
    options = place.options if place.is_small else place.options[:1]
    found = json.loads(place.lab("evaluate", "run", *options, "--json"))["test/acc"]
    yield {"name": "evaluate", "figure": f"{found:.2%}", "wrong": found != trained}
    lines = (
        "import numpy; from PIL import Image\n"
        "Image.fromarray(numpy.eye(28, dtype='uint8') * 255).save('line.png')"
    )
    python(place.folder, "-c", lines)
    place.lab("predict", "run", "line.png")
    yield {"name": "predict", "figure": "done"}
    out = place.lab("export", "run", "--format", "torch", "--output", "model.pt2")
    yield {"name": "export", "figure": out.strip().partition("; ")[2] or "done"}


PARTS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "recipes": recipes,
    "bits": bits,
    "precision": precision,
    "memory": memory,
    "speed": speed,
    "sweep": sweep,
    "speedrun": speedrun,
    "ddp": ddp,
    "use": use,
}


def metrics(run: Path) -> dict[str, float]:
    """Return what a run has left."""
    found: dict[str, float] = json.loads((run / "metrics.json").read_text("utf-8"))
    return found


def python(folder: Path, *words: str, **environment: str) -> str:
    """Run Python in a folder, and return what it printed.

    Raises:
        RuntimeError: it ended with an error.
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {said}")
    return done.stdout


def _fit(found: dict[str, float]) -> str:
    return f"{found['time/fit']:.1f} s of training"


def _benchmark(place: Place, rows: list[str]) -> Iterator[Row]:
    path = place.folder / "benchmark.json"
    size = ["--tiny"] if place.is_small else ["--repeats=1"]
    try:
        python(place.folder, str(SCRIPTS / "benchmark.py"), *size, *rows, "--json", str(path))
    except RuntimeError:  # a row failed; it is said in the file, and the others are there
        if not path.exists():
            raise
    for table in json.loads(path.read_text("utf-8"))["tables"]:
        for row in table["rows"]:
            median = row.get("median")
            figure = "not done" if median is None else f"{median:.4g} {table['unit']}"
            yield {
                "name": f"{table['name']}/{row['name']}",
                "figure": figure,
                "note": row["skipped"] or "",
                "wrong": row["failed"],
            }


def _two_processes(place: Place, words: list[str]) -> None:
    """Start two ranks as two machines of one device each would be started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    strategy = [
        "trainer.strategy={_target_: lightning.pytorch.strategies.DDPStrategy, "
        "process_group_backend: gloo}",
        "trainer.num_nodes=2",
    ]
    training = ["-m", "mnist_lab", "train", *place.options, *strategy, *words]
    ranks = [
        subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "torch.distributed.run",
                    "--nnodes=2",
                    "--nproc-per-node=1",
                ),
                *(f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"),
                *(*training, "hydra.run.dir=two"),
            ],
            cwd=place.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=PATIENCE)[1] for rank in ranks]
    for rank, text in zip(ranks, said, strict=True):
        if rank.returncode:
            raise RuntimeError(f"a rank ended with exit {rank.returncode}: {text[-1500:]}")
