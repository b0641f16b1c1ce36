"""Several runs evaluated, and as one model."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from door import call

from mnist_lab.data.mnist_files import Split
from mnist_lab.inference.evaluate import predict_test_images

_SHORT = "trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=60 logger=none"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: seeds 1 and 2, and one that was validated on other images."""
    folder = tmp_path_factory.mktemp("ensemble")
    for name, words in [("1", "seed=1"), ("2", "seed=2"), ("other", "data.val_size=4000")]:
        done = call(f"train {_SHORT} {words} ~callbacks.pictures hydra.run.dir={name}", folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.thorough
def test_an_ensemble_has_the_mean_of_the_probabilities(runs: Path, mnist_test: Split) -> None:
    done = call("evaluate 1 2 --ensemble --json", runs)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    for name, metrics in content["runs"].items():
        own = json.loads((runs / name / "metrics.json").read_text())
        assert metrics == {key: own[key] for key in metrics}
    labels = mnist_test.labels
    members = [predict_test_images(runs / name).probs.double() for name in ("1", "2")]
    mean = torch.stack(members).mean(dim=0)
    together = content["ensemble"]
    assert together["test/acc"] == pytest.approx((mean.argmax(1) == labels).double().mean().item())
    chosen = mean.gather(1, labels[:, None])
    assert together["test/loss"] == pytest.approx(-chosen.log().mean().item(), abs=1e-6)
    assert together["test/loss"] < max(run["test/loss"] for run in content["runs"].values())
    assert {"val/acc", "val/loss"} < together.keys()


@pytest.mark.thorough
def test_runs_are_rows_and_so_is_their_ensemble(runs: Path) -> None:
    done = call("evaluate 1 2 --ensemble", runs)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run", "val/acc", "val/loss", "test/acc", "test/loss"]
    assert [re.split(r" {2,}", line)[0] for line in lines[2:]] == ["1", "2", "ensemble of 2"]
    rows = call("evaluate 1 2", runs).stdout.splitlines()
    assert [row.split() for row in rows[2:]] == [line.split() for line in lines[2:4]]


def test_no_validation_in_common_leaves_the_test(runs: Path) -> None:
    done = call("evaluate 1 other --ensemble --json", runs)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ensemble"].keys() == {"test/acc", "test/loss"}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("1 --ensemble", 2, "--ensemble: must have two runs or more"),
        ("1 2 1/", 2, "1: must be named once"),
        ("1 circle --ensemble", 3, "circle/config.yaml: no such file"),
        ("1 missing --ensemble", 3, "missing/config.yaml: no such file"),
        ("1 fashion --ensemble", 2, "data.dataset=fashion_mnist, but mnist in 1"),
        ("1 classes --ensemble", 2, "model.num_classes=12, but 10 in 1"),
        ("1 empty --ensemble", 3, "empty: no checkpoint in it: removed, or"),
        ("1 2 --ensemble trainer=ddp_cpu", 2, "trainer.devices=2: must be 1 for an ensemble"),
        ("1 2 --ensemble optimizer.lr=1", 2, "optimizer.lr=1: only data and trainer"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(
    runs: Path, words: str, code: int, message: str
) -> None:
    shutil.copytree(runs / "1", runs / "empty", dirs_exist_ok=True)
    shutil.rmtree(runs / "empty" / "checkpoints")
    (runs / "circle").unlink(missing_ok=True)
    (runs / "circle").symlink_to("circle")
    for name, line in [("fashion", "dataset: fashion_mnist"), ("classes", "num_classes: 12")]:
        shutil.copytree(runs / "1", runs / name, dirs_exist_ok=True)
        config = (runs / name / "config.yaml").read_text()
        changed = re.sub(rf"{line.split()[0]} .*", line, config)
        assert changed != config
        (runs / name / "config.yaml").write_text(changed)
        manifest = json.loads((runs / name / "manifest.json").read_text())
        del manifest["config"]  # as an edited one is refused
        (runs / name / "manifest.json").write_text(json.dumps(manifest))
    done = call(f"evaluate {words}", runs)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
