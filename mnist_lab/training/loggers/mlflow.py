"""A logger to MLflow, in which a run that is killed and resumed has each point once.

MLflow takes no point back. So all points are sent before a checkpoint is saved; what a killed
process sent after it has arrived, is computed again to the same bits, and is not sent again.
(Lightning's own logger sends each point while the step waits, begins a new run on resume, and sets
the address of the whole process.)
"""

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from mnist_lab.config.allowlist import importing
from mnist_lab.errors import first_line
from mnist_lab.training.loggers.tracker import TAG, Tracker, id_of

_log = logging.getLogger(__name__)
_PARAMS, _METRICS, _LONGEST = 100, 1_000, 6_000  # that MLflow takes in a request, and of a value
_Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step


class MLflow(Tracker):
    """Sends a run's points to MLflow whenever a checkpoint is saved.

    Args:
        save_dir: the run's directory.
        tracking_uri: the server's address, which no run's directory may name; None is
            ``MLFLOW_TRACKING_URI``, else SQLite in ``outputs/mlflow.db`` of the current folder.
        experiment_name: the experiment.
        run_name: the run's name; None is its directory's.
        tags: the run's tags.
    """

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        experiment_name: str = "mnist_lab",
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir, run_name)
        self._database = Path("outputs", "mlflow.db").absolute()
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._experiment_name = experiment_name
        self._tags = {name: str(value) for name, value in (tags or {}).items()}
        self._unsent: list[_Point] = []
        self._known: set[tuple[str, int]] = set()  # names and steps that are sent, or will be

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        milliseconds = int(time.time() * 1000)
        for name, value in metrics.items():
            key = re.sub(r"[^\w/. :-]", "_", name), step or 0
            if key not in self._known:
                self._known.add(key)
                self._unsent.append((key[0], float(value), milliseconds, key[1]))

    @override
    def _open(self, settings: Mapping[str, Any], lengths: Mapping[str, int] | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would call home
        with importing():
            from mlflow import MlflowClient
            from mlflow.entities import Param
        for name in ("mlflow", "alembic"):  # they tell of each table
            logging.getLogger(name).setLevel(logging.WARNING)
        if self._uri is None:
            self._database.parent.mkdir(exist_ok=True)
        client = self._client = MlflowClient(self._uri or f"sqlite:///{self._database}")
        experiment = self._experiment()
        own = id_of(self._folder)
        runs = list(client.search_runs([experiment], f"tags.{TAG} = '{own}'"))
        if not runs:
            if lengths is not None:
                _log.warning("logger=mlflow: has no such run; what was logged before is not there")
            tags = {**self._tags, TAG: own, "run_dir": str(self._folder)}
            runs = [client.create_run(experiment, tags=tags, run_name=self._run_name)]
        data, self._run_id = runs[0].data, runs[0].info.run_id
        client.update_run(self._run_id, status="RUNNING")
        new = [Param(key, str(settings[key])[:_LONGEST]) for key in settings.keys() - data.params]
        for start in range(0, len(new), _PARAMS):
            client.log_batch(self._run_id, params=new[start : start + _PARAMS])
        histories = [client.get_metric_history(self._run_id, name) for name in data.metrics]
        self._known = {(metric.key, metric.step) for history in histories for metric in history}

    def _experiment(self) -> str:
        """Return the id of the experiment, which another process may make at the same time."""
        name, client = self._experiment_name, self._client
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name))
            except Exception:
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    @override
    def send(self) -> dict[str, int]:
        """Send what was logged; what a server does not take waits for the next time."""
        from mlflow.entities import Metric

        try:
            while self._unsent:
                metrics = [Metric(*point) for point in self._unsent[:_METRICS]]
                self._client.log_batch(self._run_id, metrics=metrics)
                del self._unsent[:_METRICS]
        except Exception as error:
            _log.warning("logger=mlflow: %s; tries again later", first_line(error))
        return {}

    @override
    def close(self, is_finished: bool = False) -> None:
        run_id, self._run_id = self._run_id, None
        if run_id is None or self._unsent:
            return
        try:
            self._client.set_terminated(run_id, "FINISHED" if is_finished else "FAILED")
        except Exception as error:
            _log.warning("logger=mlflow: %s; does not know that the run ended", first_line(error))
