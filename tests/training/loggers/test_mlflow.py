"""MLflow on SQLite: of a run that is killed and resumed, each point once, by MLflow's own API."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from door import call
from tracked import Points, expected, killed

from mnist_lab.errors import ConfigError
from mnist_lab.runs.manifest import update_manifest
from mnist_lab.training.loggers.mlflow import MLflow

pytestmark = [
    pytest.mark.skipif(not find_spec("mlflow"), reason="the extra mlflow is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what MLflow brings
]
METHODS = [
    f"loggers.mlflow.MLflow.{name}"
    for name in ("log_metrics", "send", "_open", "_experiment", "finalize")
]


def told(folder: Path, status: str = "FINISHED") -> tuple[Points, dict[str, str]]:
    """Return the points and the hyperparameters of the only run that MLflow tells of."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mnist_lab")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == status
    assert run.data.tags["run_dir"] == str(folder / "run")
    histories = [client.get_metric_history(run.info.run_id, name) for name in run.data.metrics]
    points = Counter((metric.key, metric.step) for history in histories for metric in history)
    assert max(points.values()) == 1
    return Counter({key: 1 for key in points if key[0] != "epoch"}), run.data.params


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_each_point_once_whenever_a_process_is_killed(tmp_path: Path) -> None:
    """A process is gone with its points logged or sent; before its checkpoint is saved or after."""
    (tmp_path / "run").mkdir()
    update_manifest(tmp_path / "run")
    done = 0  # steps up to the checkpoint
    for process in range(4):
        logger = MLflow(str(tmp_path / "run"))
        logger.begin({"optimizer.lr": 0.1, "long": "x" * 9_000}, {} if process else None)
        last = 10 if process == 3 else done + 4
        for step in range(done, last):
            logger.log_metrics({"train/loss": 1 / (step + 1), "x%": float("nan")}, step)
            if step == done + 1 or (process and step == done + 2):  # the second without checkpoint
                logger.send()
        done += 2
    logger.finalize("success")
    logger.close(is_finished=True)
    points, settings = told(tmp_path)
    assert points == Counter((name, step) for name in ("train/loss", "x_") for step in range(10))
    assert settings == {"optimizer.lr": "0.1", "long": "x" * 6_000}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 20])
def test_a_run_that_is_killed_and_resumed_has_each_point_once(tmp_path: Path, kills: int) -> None:
    killed(tmp_path, "logger=[tensorboard,mlflow]", METHODS, kills)
    points, settings = told(tmp_path)
    assert points == expected()
    assert settings.keys() > {"optimizer.lr", "seed", "data.batch_size", "model", "trainer"}
    before = (tmp_path / "outputs" / "mlflow.db").read_bytes()
    done = call("verify run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "mlflow.db").read_bytes() == before


def test_a_server_that_is_away_gets_all_points_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    class Client:
        is_away = True

        def log_batch(self, _: str | None, metrics: list[Any]) -> None:
            if self.is_away:
                raise OSError("no route to host")
            sent.extend(metrics)

    logger = MLflow(str(tmp_path))
    logger._client = Client()
    logger.log_metrics({"x": 1.0}, 1)
    logger.send()
    assert "logger=mlflow: no route to host; tries again later" in caplog.text
    Client.is_away = False
    logger.log_metrics({"x": 2.0}, 2)
    logger.send()
    assert [(metric.step, metric.value) for metric in sent] == [(1, 1.0), (2, 2.0)]


def test_an_address_that_mlflow_refuses_is_one_line(tmp_path: Path) -> None:
    update_manifest(tmp_path)
    with pytest.raises(ConfigError, match=r"logger=mlflow: .*nowhere"):
        MLflow(str(tmp_path), tracking_uri="nowhere://x").begin({}, None)


@pytest.mark.thorough
def test_a_run_that_goes_on_without_its_database_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    update_manifest(tmp_path)
    MLflow(str(tmp_path)).begin({}, {})
    assert "logger=mlflow: has no such run; what was logged before is not there" in caplog.text
