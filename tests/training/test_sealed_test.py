"""Sealed test images: who reads them, and the count of the readings."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from door import FEW_BATCHES, call, train

from mnist_lab.inference.evaluate import evaluate
from mnist_lab.training import sealed_test

SEALED = f"model=softmax protocol=sealed {FEW_BATCHES}"


def readings(run_dir: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run_dir / "manifest.json").read_text()).get(
        "test_readings", []
    )
    return found


def naming_test_metrics(folder: Path) -> list[str]:
    """Return the files that name a metric of the test images, event files and databases too."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and re.search(rb"(?<!\w)test/", path.read_bytes())
    ]


class Watch(threading.Thread):
    """Looks at all files below a folder again and again while a sweep runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.found, self.looks = folder, list[str](), 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.1):
            try:
                self.found += naming_test_metrics(self.folder)
                self.looks += self.folder.exists()
            except FileNotFoundError:  # a partial file that got its name
                continue

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over.set()
        self.join()


@pytest.fixture(scope="module", params=["basic", "fused"])
def sweep(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a sealed sweep, no file of which ever named a metric of the test images."""
    folder = tmp_path_factory.mktemp("sealed")
    command = f"train -m {SEALED} logger=many optimizer.lr=1e-3,1e-2 hydra.sweep.dir=sweep"
    with Watch(folder / "sweep") as watch:
        done = call(f"{command} hydra/launcher={request.param}", folder)
    assert done.returncode == 0, done.stderr
    assert watch.looks > 2
    assert watch.found == []
    assert "test" not in done.stdout
    return folder / "sweep"


@pytest.mark.thorough
def test_no_file_of_a_sealed_sweep_has_a_test_metric(sweep: Path) -> None:
    assert naming_test_metrics(sweep) == []
    assert list(sweep.rglob("events.out.tfevents*"))
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    assert "val/acc" in metrics
    assert not [name for name in metrics if name.startswith("test")]
    assert readings(sweep / "0") == []
    shown = call(f"report {sweep} --test", sweep.parent)
    assert "sealed, not read" in shown.stdout


@pytest.mark.thorough
def test_the_chosen_trial_is_evaluated_and_counted(sweep: Path) -> None:
    before = len(readings(sweep / "1"))
    done = call("evaluate sweep/1 --json", sweep.parent)
    assert 0 < json.loads(done.stdout)["test/acc"] < 1
    (reading,) = readings(sweep / "1")[before:]
    assert reading["by"] == "evaluate"
    verified = call("verify sweep/0", sweep.parent)
    assert verified.returncode == 0, verified.stderr
    assert readings(sweep / "0") == []


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed run."""
    return train(SEALED, tmp_path_factory.mktemp("lone"))


def test_a_run_reads_once_and_each_evaluation_is_counted(lone: Path) -> None:
    manifest = json.loads((lone / "manifest.json").read_text())
    (reading,) = manifest["test_readings"]
    assert reading["by"] == "train"
    assert reading["weights_sha256"] == manifest["sha256"]["model"]
    evaluate(lone)
    first, second = readings(lone)
    assert (second["by"], second["weights_sha256"]) == ("evaluate", first["weights_sha256"])
    assert call(f"train {SEALED} hydra.run.dir={lone}", lone.parent).returncode == 0
    assert len(readings(lone)) == 2  # it is finished, and reads nothing


def test_a_report_adds_the_readings_of_all_runs_of_a_configuration(tmp_path: Path) -> None:
    for seed in (0, 1):
        assert call(f"train {SEALED} seed={seed} hydra.run.dir=runs/{seed}", tmp_path).stderr == ""
    assert call(f"train {SEALED} protocol=open hydra.run.dir=runs/2", tmp_path).stderr == ""
    evaluate(tmp_path / "runs" / "1")
    shown = call("report runs", tmp_path).stdout
    assert "sealed, read 3 times" in shown
    assert "open" in shown
    rows = json.loads(call("report runs --json", tmp_path).stdout)["rows"]
    assert {(row["n"], row["test_readings"]) for row in rows} == {(2, 3), (1, None)}


def test_a_directory_that_cannot_be_written_says_so(
    lone: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = (lone / "manifest.json").read_bytes()
    from mnist_lab.errors import StorageError

    def refused(*_: Any, **__: Any) -> None:
        raise StorageError(f"{lone}/manifest.json: cannot be written: Read-only file system")

    monkeypatch.setattr(sealed_test, "update_manifest", refused)
    assert "test/acc" in evaluate(lone)
    assert "could not be counted" in caplog.text
    assert (lone / "manifest.json").read_bytes() == before


def test_other_images_are_not_its_test_images(lone: Path, tmp_path: Path) -> None:
    import numpy as np

    before = readings(lone)
    images = np.zeros((20, 28, 28), dtype=np.uint8)
    labels = np.arange(20) % 10
    path = tmp_path / "x.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    done = call(f"evaluate {lone} data=arrays data.root={path}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert readings(lone) == before


def test_hydras_own_sweeper_is_refused(tmp_path: Path) -> None:
    done = call(f"train -m {SEALED} seed=0,1 hydra/sweeper=basic", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "protocol=sealed: needs hydra/sweeper=study" in done.stderr
    assert not list(tmp_path.rglob("manifest.json"))
