"""What a run says about its progress while it trains."""

import json
from pathlib import Path
from typing import Any

import pytest
from door import FEW_BATCHES, train

from mnist_lab.training import progress_file
from mnist_lab.training.progress_file import Heartbeat


def test_it_is_there_while_a_run_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[dict[str, Any]] = []
    write = Heartbeat._write

    def kept(self: Heartbeat, trainer: Any) -> None:
        write(self, trainer)
        path = Path(trainer.default_root_dir, "progress.json")
        beats.append(json.loads(path.read_text()))

    monkeypatch.setattr(progress_file, "_EVERY", 0.0)
    monkeypatch.setattr(Heartbeat, "_write", kept)
    run = train(f"model=softmax {FEW_BATCHES} trainer.max_epochs=2", tmp_path)
    assert [(beat["epoch"], beat["share"]) for beat in beats[1:]] == [
        *((1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)),
    ]
    assert beats[0]["metrics"] == {}
    last = beats[-1]
    assert (last["max_epochs"], last["seconds_left"]) == (2, 0)
    assert {"val/acc", "val/loss", "best/val/acc"} <= last["metrics"].keys()
    assert not (run / "progress.json").exists()
