"""What a project of lightning-hydra-template brings along, and what its user types."""

import sys
from pathlib import Path

import pytest
import yaml
from door import FEW_BATCHES, call
from yours import TEMPLATE, TEMPLATES_YAML

COMPILED = """\
    def setup(self, stage):
        if stage == "fit":
            self.net = torch.compile(self.net, backend="eager")

    def forward(self, images):"""
BARS = """\
from lightning.pytorch.callbacks import RichProgressBar

from mnist_lab.callbacks import Progress


class Bar(RichProgressBar):
    def on_train_start(self, *arguments):
        super().on_train_start(*arguments)
        print("trained with", type(self).__name__)


class Lines(Progress):
    def on_train_start(self, *arguments):
        super().on_train_start(*arguments)
        print("trained with", type(self).__name__)
"""
SAVING = "lightning.pytorch.callbacks.ModelCheckpoint"
FILES = {
    "model/mine": TEMPLATES_YAML,
    "model/reader": TEMPLATES_YAML.replace("lr: 0.01", "lr: ${optimizer.lr}"),
    "model/compiled": TEMPLATES_YAML.replace("template.Digits", "compiled.Digits"),
    "model/cnn": TEMPLATES_YAML,
    "model/odd": "width: 8\n",
    "data/odd": "batch_size: 8\n",
    "trainer/odd": "_target_: lightning.pytorch.Trainer\nmax_epochs: 1\n",
    "trainer/good": "defaults: [auto]\nmax_epochs: 1\n",
    "callbacks/bar": "defaults: [default]\nbar: {_target_: bars.Bar}\n",
    "callbacks/saving": f"model_checkpoint: {{_target_: {SAVING}, monitor: val/acc, mode: max}}\n",
    "callbacks/paths": f"x: {{_target_: {SAVING}, dirpath: '${{paths.output_dir}}'}}\n",
    "experiment/best": "callbacks: {model_checkpoint: {monitor: val/loss}}\n",
}
TRAIN = f"train {FEW_BATCHES} --config-dir configs"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        path = folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    text = TEMPLATE.replace("import lightning as L\n", "import lightning as L\nimport torch\n")
    (folder / "template.py").write_text(TEMPLATE)
    (folder / "bars.py").write_text(BARS)
    (folder / "compiled.py").write_text(text.replace("    def forward(self, images):", COMPILED))
    return folder


@pytest.fixture(autouse=True)
def opened(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "template.,compiled.,bars.")
    monkeypatch.syspath_prepend(project)
    for name in ("template", "compiled", "bars"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_loss_is_minimised_under_any_name(project: Path) -> None:
    for number, (monitor, mode) in enumerate([("val/loss", "min"), ("val/acc", "max")]):
        done = call(f"{TRAIN} model=mine monitor={monitor} hydra.run.dir=m{number}", project)
        assert done.returncode == 0, done.stderr
        config = yaml.safe_load((project / f"m{number}" / "config.yaml").read_text())
        assert (config["mode"], config["callbacks"]["checkpoint"]["mode"]) == (mode, mode)


def test_weights_of_a_compiled_network_are_those_of_the_network(project: Path) -> None:
    for command in (
        f"{TRAIN} model=compiled hydra.run.dir=compiled",
        "evaluate compiled",
        "resume compiled trainer.max_epochs=2",
        "verify compiled",
        f"{TRAIN} model=compiled init_from=compiled hydra.run.dir=again",
        f"{TRAIN} model=mine init_from=compiled hydra.run.dir=plain",
    ):
        done = call(command, project)
        assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("model=odd", "model: the file that is chosen must have a _target_"),
        ("data=odd", "data: the file that is chosen must have a _target_"),
        ("callbacks=paths", "'paths.output_dir' not found; hydra.run.dir=DIR is the directory"),
        ("trainer=odd", "trainer: the file that is chosen must begin with `defaults: [auto]`"),
        ("trainer=odd trainer.devices=1", "a file of one's own has it below `defaults: [auto]`"),
        ("trainer=good trainer.default_root_dir=x", "hydra.run.dir, or hydra.sweep.dir in a sweep"),
        ("experiment=best", "must be a mapping with a _target_; the default has checkpoints"),
    ],
)
def test_what_does_not_fit_is_one_line(words: str, line: str, project: Path) -> None:
    done = call(f"train --config-dir configs {words}", project)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["Bar", "Lines"])
def test_ones_own_progress_bar_takes_the_place_of_the_labs(name: str, project: Path) -> None:
    words = f"model=softmax callbacks=bar callbacks.bar._target_=bars.{name} ~callbacks.pictures"
    done = call(f"{TRAIN} {words} hydra.run.dir={name}", project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"trained with {name}") == 1
    assert ("epoch 1/1" in done.stdout) == (name == "Lines")
    assert (project / name / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize(("choice", "is_read"), [("mine", False), ("reader", True)])
def test_a_typed_setting_that_is_not_used_is_named(
    choice: str, is_read: bool, project: Path
) -> None:
    done = call(f"{TRAIN} model={choice} optimizer.lr=0.5 hydra.run.dir={choice}_lr", project)
    assert done.returncode == 0, done.stderr
    log = (project / f"{choice}_lr" / "train.log").read_text()
    line = "optimizer.lr=0.5: not used by template.Digits, which is no Classifier"
    assert (line in log) != is_read


def test_ones_own_checkpoint_needs_none_of_the_labs(project: Path) -> None:
    done = call(f"{TRAIN} model=softmax callbacks=saving hydra.run.dir=saving", project)
    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in (project / "saving" / "checkpoints").rglob("*.*")] == [".ckpt"]


def test_a_choice_that_the_labs_hides_is_named(project: Path) -> None:
    done = call("train --config-dir configs model=cnn --cfg job", project)
    assert "_target_: mnist_lab.models.CNN" in done.stdout
    line = "configs/model/cnn.yaml: not taken, as the lab has a choice of that name; rename it\n"
    assert done.stderr == line
    done = call("train -m --config-dir configs model=softmax,cnn --cfg job", project)
    assert done.stderr == line
    assert call("train --config-dir configs model=mine --cfg job", project).stderr == ""
