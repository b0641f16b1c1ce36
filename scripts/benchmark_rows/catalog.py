"""Which tables and rows there are, and how large each measurement is; imports nothing heavy."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NUM_TRAIN = 55_000  # images that the lab trains on by default, and so every row here
NUM_VAL = 5_000
EVAL_BATCH_SIZE = 1_000  # the lab's own


@dataclass(frozen=True)
class Net:
    """A network that several frameworks train alike.

    Args:
        title: what tables call it.
        batch_size: samples in a step.
        hidden_dims: units of each hidden layer.
        channels: channels of each 5 x 5 convolution, each with ReLU and 2 x 2 max pooling.
        dropout: probability that a unit of the last hidden layer is left out.
    """

    title: str
    batch_size: int
    hidden_dims: tuple[int, ...]
    channels: tuple[int, ...] = ()
    dropout: float = 0.0

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return math.ceil(NUM_TRAIN / self.batch_size)

    @property
    def overrides(self) -> list[str]:
        """What selects the net on the lab's command line."""
        common = [
            "model.activation=relu",
            f"model.hidden_dims={list(self.hidden_dims)}".replace(" ", ""),
            f"model.dropout={self.dropout}",
            f"data.batch_size={self.batch_size}",
        ]
        if not self.channels:
            return ["model=mlp", *common]
        channels = f"model.channels={list(self.channels)}".replace(" ", "")
        return ["model=cnn", channels, "model.kernel_size=5", *common]


NETS = {
    "mlp_65": Net("MLP 784-65-65-10, batch 100", 100, (65, 65)),
    "mlp_512": Net("MLP 784-512-256-128-10, batch 128", 128, (512, 256, 128)),
    "cnn": Net("CNN 32c5-64c5-1024-10, dropout 0.2, batch 128", 128, (1024,), (32, 64), 0.2),
}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        repeats: times that each row runs.
        seeds: runs of each row of the accuracy group, seeds 0 and up.
        mlp_epochs: epochs of the step rows; the first is not counted.
        cnn_epochs: the same for the CNN.
        mlp_share: share of an epoch's batches that a step row runs; times are scaled up by it.
        cnn_share: the same for the CNN.
        data_batches: batches that a loader is timed over, per pass; None is all.
        agree_steps: steps over which losses are compared.
        trials: of a sweep of MLPs; of CNNs a quarter.
    """

    repeats: int
    seeds: int
    mlp_epochs: int
    cnn_epochs: int
    mlp_share: float
    cnn_share: float
    data_batches: int | None
    agree_steps: int
    trials: int

    def epochs(self, net: Net) -> int:
        """Return the epochs to run, the uncounted first one included."""
        return self.cnn_epochs if net.channels else self.mlp_epochs

    def share(self, net: Net) -> float:
        """Return the share of an epoch's batches to run."""
        return self.cnn_share if net.channels else self.mlp_share


SIZES = {
    "full": Size(3, 10, 6, 3, 1.0, 1.0, None, 500, 64),
    "quick": Size(1, 2, 3, 2, 1.0, 0.2, None, 500, 64),
    "tiny": Size(1, 1, 2, 2, 0.02, 0.01, 20, 20, 4),
}


@dataclass(frozen=True)
class Job:
    """What a row is told.

    Args:
        size: how much to measure.
        repeat: number of this run of the row, from 0.
        root: folder of the data sets; MNIST is unpacked in ``MNIST/raw`` there.
        folder: an empty folder for what the row writes.
    """

    size: Size
    repeat: int
    root: Path
    folder: Path


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        name: its key within the table.
        title: what the table calls it.
        function: ``module.function`` under benchmark_rows; it takes a Job and the arguments, and
            returns a dict with ``figure``, or with ``skipped``, a reason; ``note`` and ``failed``
            are texts, and all else goes into the JSON as it is.
        arguments: what else the function takes.
    """

    name: str
    title: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows that are compared; each figure's ratio is to the first row's.

    Args:
        name: ``group`` or ``group/table``.
        title: heading.
        unit: heading of the figures.
        form: format of a figure.
        rows: the lines.
        seeds: whether a repeat stands for a seed.
        difference: whether to show each figure's difference to the first row's.
        extras: further columns: key in a run, heading and format; means over the runs.
    """

    name: str
    title: str
    unit: str
    form: str
    rows: tuple[Row, ...]
    seeds: bool = False
    difference: bool = False
    extras: tuple[tuple[str, str, str], ...] = ()


def _step_table(name: str, net: Net) -> Table:
    rows = [
        Row("raw", "raw loop, float32", "step.raw", {"net": name}),
        Row("barebones", "Lightning barebones, float32", "step.barebones", {"net": name}),
        Row("lab", "mnist-lab train, everything on", "step.lab", {"net": name}),
        Row("usual", "Lightning + torchvision MNIST", "step.usual", {"net": name}),
        Row("keras", "Keras model.fit", "keras_fit.fit", {"net": name}),
    ]
    if net.channels:  # its default is bf16 where the hardware has it, which the raw loop is not
        extra = ["trainer.precision=32-true"]
        arguments = {"net": name, "extra": extra}
        rows.insert(3, Row("lab_float32", "the same in float32", "step.lab", arguments))
    return Table(f"step/{name}", net.title, "s an epoch", "{:.3f}", tuple(rows))


def _sweep(net: str, launcher: str, **more: bool) -> dict[str, Any]:
    return {"net": net, "launcher": launcher, **more}


_WAITS: dict[str, dict[str, str]] = {
    "default": {},
    "spin_300000": {"GOMP_SPINCOUNT": "300000"},
    "spin_10000": {"GOMP_SPINCOUNT": "10000"},
    "spin_1000": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "unbounded": {"OMP_WAIT_POLICY": "ACTIVE"},
}


def _shared_table(model: str) -> Table:
    rows = [
        Row(
            f"{name}_{busy}",
            f"{name}, {'beside two busy processes' if busy else 'alone'}",
            "shared.fit",
            {"model": model, "busy": busy, "waits": waits},
        )
        for name, waits in _WAITS.items()
        for busy in (0, 2)
    ]
    title = f"A shared machine: default {model.upper()}, two epochs cut short"
    return Table(f"shared/{model}", title, "s of fit", "{:.2f}", tuple(rows))


TABLES = (
    *(_step_table(name, net) for name, net in NETS.items()),
    *map(_shared_table, ("mlp", "cnn")),
    Table(
        "sweep/mlp_65",
        "A sweep of MLPs 784-65-65-10, batch 100, with all that each trial leaves",
        "s a trial",
        "{:.2f}",
        (
            Row("fused", "hydra/launcher=fused", "sweep.lab", _sweep("mlp_65", "fused")),
            Row("basic", "hydra/launcher=basic", "sweep.lab", _sweep("mlp_65", "basic")),
            Row("usual", "a process a trial, torchvision", "sweep.usual", {"net": "mlp_65"}),
        ),
    ),
    Table(
        "sweep/cnn",
        "A sweep of CNNs, which are not stacked on a CPU",
        "s a trial",
        "{:.2f}",
        (
            Row("fused", "hydra/launcher=fused", "sweep.lab", _sweep("cnn", "fused", cnn=True)),
            Row("basic", "hydra/launcher=basic", "sweep.lab", _sweep("cnn", "basic", cnn=True)),
        ),
    ),
    Table(
        "search",
        "256 random trials of sweep=mlp_search, 12 epochs: the best on validation",
        "val/acc",
        "{:.2%}",
        (
            Row("to_the_end", "each to its end, hydra/launcher=fused", "search.to_the_end"),
            Row("halved", "synchronous halving, hydra/launcher=fused", "search.halved"),
            Row("basic", "each to its end, hydra/launcher=basic", "search.basic"),
        ),
        extras=(("epochs", "of all epochs", "{:.1%}"), ("seconds", "s in all", "{:.0f}")),
    ),
    Table(
        "data",
        "Loader alone, batch 128, float32 in [0, 1]",
        "samples/s",
        "{:,.0f}",
        (
            Row("torchvision_0", "torchvision + DataLoader", "data.torchvision", {"workers": 0}),
            Row("torchvision_2", "the same, 2 workers", "data.torchvision", {"workers": 2}),
            Row("lab", "mnist_lab MNISTDataModule", "data.lab"),
        ),
    ),
    Table(
        "start",
        "From the command to its end, or to the first training step",
        "s",
        "{:.2f}",
        (
            Row("import_lightning", 'python -c "import lightning"', "start.import_lightning"),
            Row("import_lab", 'python -c "import mnist_lab"', "start.import_lab"),
            Row("help", "mnist-lab --help", "start.show_help"),
            Row("error", "mnist-lab train modle=cnn", "start.config_error"),
            Row("first_step", "mnist-lab train, to the first step", "start.first_step"),
        ),
        difference=True,
    ),
    Table(
        "accuracy",
        "99.0 % test accuracy: reading the data, training and test",
        "s",
        "{:.2f}",
        (
            Row("raw", "raw loop, CNN 24c5-32c3-256-10, float32, 1 epoch", "accuracy.raw"),
            Row("lab", "mnist-lab train experiment=speedrun", "accuracy.lab"),
        ),
        seeds=True,
        extras=(
            ("test_acc", "mean test accuracy", "{:.3%}"),
            ("warm_up", "imports and start, s", "{:.2f}"),
        ),
    ),
    Table(
        "memory",
        "Peak resident memory",
        "MB",
        "{:,.0f}",
        (
            Row("import_lightning", 'python -c "import lightning"', "memory.import_lightning"),
            Row("lab", "mnist-lab train, 1 epoch", "memory.lab"),
            Row("usual", "Lightning + torchvision MNIST, 1 epoch", "memory.usual"),
        ),
        difference=True,
    ),
    Table(
        "agree",
        "Training losses of the lab and of the raw loop: same seed, order and precision",
        "largest difference",
        "{:.1e}",
        (Row("losses", "MLP 784-512-256-10, Adam, float32", "agree.losses"),),
    ),
)
GROUPS = tuple(dict.fromkeys(table.name.partition("/")[0] for table in TABLES))
