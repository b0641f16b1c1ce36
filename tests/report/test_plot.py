"""Charts of a report from Python."""

import re
import sys
from pathlib import Path

import pytest
from made_runs import make_run
from torch.utils.tensorboard import SummaryWriter

from mnist_lab import plot
from mnist_lab.errors import ConfigError, InputError


def test_charts_of_runs(tmp_path: Path) -> None:
    for number, accuracy in enumerate((0.91, 0.95)):
        run = make_run(tmp_path / f"{number}", 0, accuracy, model={"hidden_dims": [number + 1]})
        with SummaryWriter(str(run)) as writer:
            writer.add_scalar("val/acc", accuracy, 99)
    (curve,) = plot(tmp_path / "1").data
    assert [round(value, 2) for value in curve.y] == [0.95]
    assert len(plot(str(tmp_path / "0"), tmp_path / "1").data) == 2
    for chart in ("time", "parameters"):
        assert list(plot(tmp_path, chart=chart).data[0].y) == [0.95, 0.91]


def test_test_accuracy_of_trials_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep/0", 0, 0.9)
    (tmp_path / "sweep/sweep.json").write_text("{}")
    assert [trace.name for trace in plot(tmp_path, chart="time").data] == ["val/acc"]
    names = [trace.name for trace in plot(tmp_path, chart="time", test=True).data]
    assert names == ["val/acc", "test/acc"]


def test_curves_of_a_metric_that_runs_are_judged_by(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, None)
    config = (run / "config.yaml").read_text().replace("val/acc", "val_loss") + "mode: min\n"
    (run / "config.yaml").write_text(config)
    metrics = (run / "metrics.json").read_text()
    (run / "metrics.json").write_text(metrics.replace("test/acc", "val_loss"))
    with SummaryWriter(str(run)) as writer:
        writer.add_scalar("val_loss", 0.5, 9)
    (curve,) = plot(run).data
    assert list(curve.y) == [0.5]


def test_what_there_is_nothing_to_draw_of(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run in or below it"):
        plot(tmp_path)
    make_run(tmp_path / "run", 0, 0.9)
    with pytest.raises(InputError, match=re.escape("run: nothing logged that this chart draws")):
        plot(tmp_path / "run")
    with pytest.raises(ConfigError, match="chart=curve: must be one of curves, time"):
        plot(tmp_path, chart="curve")


def test_plotly_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ConfigError, match=r"plotly.* is not installed; pip install"):
        plot(tmp_path)
