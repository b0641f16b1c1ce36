"""Loggers whose package is an extra, and what of them a directory may say."""

import json
from pathlib import Path

import pytest
from door import FEW_BATCHES, call


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_lab.config.extras.find_spec", lambda _: None)
    done = call(f"train logger=[tensorboard,{name}]", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    line = f"logger.{name}: {name} is not installed; pip install 'mnist_lab[{name}]'"
    assert done.stderr.splitlines() == [f"mnist-lab train: {line}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("address", ["http://evil.example", "databricks", "other.db"])
def test_a_directory_names_no_address(address: str, tmp_path: Path) -> None:
    assert call(f"train {FEW_BATCHES} logger=none hydra.run.dir=run", tmp_path).returncode == 0
    config = tmp_path / "run" / "config.yaml"
    node = {
        "_target_": "mnist_lab.training.loggers.mlflow.MLflow",
        "save_dir": ".",
        "tracking_uri": address,
    }
    text = config.read_text()
    assert "logger: {}\n" in text or "logger: null\n" in text
    for empty in ("logger: {}\n", "logger: null\n"):
        text = text.replace(empty, f"logger: {json.dumps({'mlflow': node})}\n")
    config.write_text(text)
    done = call("resume run", tmp_path)
    assert done.returncode == 4
    assert f"logger.mlflow.tracking_uri={address}: is not taken from a run's config" in done.stderr
