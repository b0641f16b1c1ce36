"""A model that is no Classifier, or knows nothing of Lightning, in every verb."""

import json
from pathlib import Path

import pytest
from door import FEW_BATCHES, call
from PIL import Image

FEW = f"{FEW_BATCHES} ~callbacks.pictures"
CHOICES = {
    "module": "model=module model.net._target_=own_code.Net model.net.width=3",
    "lightning": "--config-dir mine model=lit model.width=3 monitor=val_loss mode=min",
}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("kind", CHOICES)
def test_has_every_verb(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "own_code.")
    folder = tmp_path / "mine" / "model"
    folder.mkdir(parents=True)
    (folder / "lit.yaml").write_text("_target_: own_code.Lit\nwidth: 2\n")
    Image.radial_gradient("L").resize((28, 28)).save(tmp_path / "digit.png")
    chosen = CHOICES[kind]
    width = chosen.partition("width=")[0].rpartition(" ")[2]
    for command in (
        f"train {FEW} {chosen} hydra.run.dir=run",
        f"train {FEW} {chosen} hydra.run.dir=run",
        f"train -m {FEW} {chosen} {width}width=2,3 hydra.sweep.dir=sweep",
        f"resume sweep {'--config-dir mine' if kind == 'lightning' else ''}",
        "verify run",
        "evaluate run",
        "predict run digit.png",
        "report run sweep",
        "export run --format torch",
    ):
        done = call(command, tmp_path)
        is_exported = kind == "module" or not command.startswith("export")
        assert done.returncode == (0 if is_exported else 2), f"{command}: {done.stderr}"
        assert len(done.stderr.splitlines()) < 5 or "train" in command
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert ("val/acc" if kind == "module" else "val_loss") in metrics
