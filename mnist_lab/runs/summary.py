"""Results as tables on a terminal."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mnist_lab.files.tensorboard import EVENTS
from mnist_lab.runs.directory import display_path


def metrics_table(title: str, metrics: Mapping[str, float]) -> Table:
    """Return accuracy and loss, a row for each split."""
    table = Table("", title=title, title_justify="left", title_style="bold", show_edge=False)
    table.add_column("accuracy", justify="right")
    table.add_column("loss", justify="right")
    for split in ("train", "val", "test"):
        if f"{split}/acc" in metrics and f"{split}/loss" in metrics:
            acc, loss = metrics[f"{split}/acc"], metrics[f"{split}/loss"]
            table.add_row(split, f"{acc:.2%}", f"{loss:.4f}")
    return table


def print_result(run_dir: Path, metrics: Mapping[str, float]) -> None:
    """Print what a run came to, how long it took, and how to look at it."""
    console = Console(soft_wrap=True, highlight=False, markup=False)  # a path may have brackets
    console.print()
    table = metrics_table(str(display_path(run_dir)), metrics)
    if table.row_count:  # a barebones run measures nothing but time
        console.print(table)
    epochs = "1 epoch" if metrics["epochs"] == 1 else f"{metrics['epochs']:.0f} epochs"
    console.print(
        f"{epochs}, {metrics['steps']:,.0f} steps in "
        f"{metrics['time/fit']:.1f} s; {metrics['time/total']:.1f} s with set-up and test"
    )
    if any(run_dir.glob(EVENTS)):
        console.print(f"tensorboard --logdir {shlex.quote(str(display_path(run_dir).parent))}")
