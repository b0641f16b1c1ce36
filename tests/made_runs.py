"""Run directories that no training has made."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

CONFIG: dict[str, Any] = {
    "model": {
        "_target_": "mnist_lab.models.MLP",
        "hidden_dims": [32],
        "activation": "relu",
    },
    "data": {"dataset": "mnist", "batch_size": 128, "val_size": 5000, "root": None, "seed": 0},
    "optimizer": {"name": "adam", "lr": 0.001},
    "scheduler": {"name": "none"},
    "trainer": {"max_epochs": 3},
    "callbacks": {"pictures": {"confusion": True}},
    "seed": 0,
    "monitor": "val/acc",
    "run_dir": ".",
}


def make_run(
    folder: Path, seed: int, val_acc: float | None, test_acc: float = 0.9, **settings: Any
) -> Path:
    """Write a finished run with a config that is as ``CONFIG`` but for the settings."""
    folder.mkdir(parents=True)
    config = copy.deepcopy(CONFIG)
    config["seed"] = config["data"]["seed"] = seed
    for group, values in settings.items():
        config[group] |= values
    metrics = {
        "test/acc": test_acc,
        "test/loss": 0.1,
        "time/fit": 2.5,
        "time/total": 4.0,
        "epochs": 3.0,
        "steps": 1290.0,
        "num_params": 25450.0,
    }
    if val_acc is not None:
        metrics |= {"val/acc": val_acc, "val/loss": 0.2}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "manifest.json").write_text(json.dumps({"state": "finished", "attempts": []}))
    return folder


def note(run: Path, **entries: Any) -> None:
    """Put entries into a run's manifest."""
    path = run / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
