"""Settings by which runs are compared."""

from pathlib import Path

from made_runs import make_run

from mnist_lab.report.read_runs import read_entry
from mnist_lab.report.settings import differing, settings_of


def test_a_class_by_its_old_name_is_the_same_setting(tmp_path: Path) -> None:
    found = []
    for number, package in enumerate(("callbacks", "training")):
        folder = make_run(tmp_path / str(number), number, 0.9)
        text = f"  checkpoint: {{_target_: mnist_lab.{package}.Checkpoint}}\n"
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace("callbacks:\n", f"callbacks:\n{text}"))
        found.append(read_entry(folder).settings)
    assert found[0] == found[1]
    assert found[0]["callbacks.checkpoint._target_"] == "mnist_lab.training.Checkpoint"


def test_a_run_of_an_earlier_version_has_the_settings_that_were_fixed_then() -> None:
    mlp = {"model": {"_target_": "mnist_lab.models.MLP", "dropout": 0.1}, "metrics": {}}
    now = {**mlp, "protocol": "open", "model": {**mlp["model"], "noise": 0.0}}
    assert settings_of(mlp) == settings_of(now)
    assert settings_of(mlp)["model.noise"] == 0
    assert "model.noise" not in settings_of({"model": {"_target_": "mnist_lab.models.CNN"}})


def test_true_and_one_differ_and_a_missing_key_is_null() -> None:
    assert differing([{"a": True, "b": 1}, {"a": 1, "b": 1.0, "c": None}]) == ["a"]
