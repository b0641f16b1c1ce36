"""``mnist-lab train`` as a whole: Hydra's flags, single runs, sweeps, and code of the user's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from door import FEW_BATCHES, call, run
from omegaconf import OmegaConf

from mnist_lab.cli.main import main
from mnist_lab.runs.directory import CONFIG, MANIFEST, METRICS

OWN = """\
import lightning as L
class Stop(L.Callback):
    def __init__(self, message):
        self.message = message
    def on_train_start(self, trainer, pl_module):
        if self.message:
            raise RuntimeError(self.message)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["train", *arguments]) == 0
    return capsys.readouterr().out


def test_cfg(capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(printed(capsys, "--cfg", "job", "model=cnn", "--resolve"))
    assert config["model"]["channels"] == [24, 32]
    assert config["callbacks"]["checkpoint"]["monitor"] == "val/acc"
    part = yaml.safe_load(printed(capsys, "-c", "job", "-p", "optimizer", "optimizer.lr=0.5"))
    assert (part["name"], part["lr"]) == ("adam", 0.5)
    hydra = yaml.safe_load(printed(capsys, "--cfg", "hydra"))
    assert hydra["hydra"]["sweep"]["subdir"] == "${hydra:job.num}"


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("-m seed=1,2", "seed", 1),
        ("-m seed=range(3,5)", "seed", 3),
        ("-m optimizer.lr=interval(1e-3,1)", "optimizer.lr", 0.001),
        ("-m model=cnn,mlp", "data.batch_size", 128),
        ("-m optimizer=glob(ad*)", "optimizer.name", "adam"),
        ("cv=5", "data.fold", 0),
        ("-m seed=tag(a,choice(2,1)) hydra/sweeper=basic", "seed", 2),
        ("-m optimizer=glob(ad*) hydra/sweeper=basic", "optimizer.name", "adam"),
    ],
)
def test_cfg_of_a_sweep_is_its_first_trials(
    words: str, key: str, value: float | str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = OmegaConf.create(printed(capsys, *words.split(), "--cfg", "job", "--resolve"))
    assert OmegaConf.select(config, key) == value


@pytest.mark.parametrize("package", ["nope", "model.nope", "model.."])
def test_a_package_that_is_not_there_is_one_line(package: str, tmp_path: Path) -> None:
    done = call(f"train --cfg job --package '{package}'", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("mnist-lab train: --package: the config has no ")


@pytest.mark.parametrize("choice", ["disabled", "stdout", "none"])
def test_hydras_own_choices_of_logging_are_taken(choice: str, tmp_path: Path) -> None:
    done = call(f"train {FEW_BATCHES} hydra/job_logging={choice} hydra.run.dir=run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "train.log").exists()


def test_what_logging_refuses_leaves_nothing(tmp_path: Path) -> None:
    words = "hydra.job_logging.handlers.file.class=nowhere.Handler hydra.run.dir=run"
    done = call(f"train {FEW_BATCHES} {words}", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("mnist-lab train: hydra.job_logging: Unable to configure handler")
    assert not (tmp_path / "run").exists()


def test_hydra_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--multirun" in printed(capsys, "--hydra-help")


@pytest.mark.thorough
def test_module_is_the_same_command(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "mnist_lab", "train"]
    info = ["--info", "defaults-tree", "model=cnn"]
    result = subprocess.run([*module, *info], capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (
        0,
        run("train " + " ".join(info), tmp_path).stdout,
    )
    assert "model: cnn" in result.stdout
    bad = subprocess.run([*module, "modle=cnn"], capture_output=True, text=True, cwd=tmp_path)
    assert (bad.returncode, bad.stderr) == (2, run("train modle=cnn", tmp_path).stderr)


def test_error_of_a_constructor_is_one_line(tmp_path: Path) -> None:
    result = call(f"train model=cnn model.pool=28 {FEW_BATCHES}", tmp_path)
    assert result.stderr == "mnist-lab train: model.pool=28: pools 28 pixels down to nothing\n"
    assert result.returncode == 2
    assert not list(tmp_path.rglob(MANIFEST))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "trainer.val_check_interval=7 trainer.accumulate_grad_batches=3",
            "trainer.val_check_interval=7: validates after 7 batches, within a step of trainer.acc",
        ),
    ],
)
def test_what_only_shows_with_the_data_is_one_line(
    words: str, message: str, tmp_path: Path
) -> None:
    result = call(f"train {FEW_BATCHES} trainer.limit_train_batches=20 {words}", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"mnist-lab train: {message}")
    assert result.stderr.count("\n") == 1


def test_sweep_goes_on_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    result = call(
        "train -m model=softmax callbacks=none +callbacks.stop._target_=my_package.Stop "
        f"+callbacks.stop.message=bad-luck,null,worse allow_targets=[my_package.] {FEW_BATCHES}",
        tmp_path,
    )
    assert result.returncode == 1, result.stderr
    failed = [line for line in result.stderr.splitlines() if line.startswith("mnist-lab train: ")]
    assert len(failed) == 2, result.stderr
    for line, number, message in zip(failed, (0, 2), ("bad-luck", "worse"), strict=True):
        assert line.startswith(
            f"mnist-lab train: trial {number} (+callbacks.stop.message={message})"
        )
        assert line.endswith(f"RuntimeError: {message}")
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert not (tmp_path / "outputs" / "runs").exists()
    runs = sorted(path.parent for path in sweep_dir.glob(f"*/{CONFIG}"))
    assert [path.name for path in runs] == ["0", "1", "2"]
    assert [path.name for path in runs if (path / METRICS).exists()] == ["1"]
    states = [json.loads((path / MANIFEST).read_text())["state"] for path in runs]
    assert states == ["failed", "finished", "failed"]
    assert "worse" in (sweep_dir / "2" / "train.log").read_text()


@pytest.mark.parametrize("sweep", ["", "-m seed=1,2", "-m seed=1,2 hydra/sweeper=basic"])
def test_a_device_that_is_missing_is_one_line(
    sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_lab.training.precision.device_type", lambda _: "cpu")
    done = call(f"train trainer=gpu {sweep}", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "trainer.accelerator=gpu: this machine has no such device" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", ["trainer.precision=16-true optimizer.lr=1e4", "optimizer.lr=1e30"]
)
def test_a_run_that_diverges_is_kept_and_exits_with_1(words: str, tmp_path: Path) -> None:
    done = call(f"train {words} model=mlp {FEW_BATCHES} hydra.run.dir=run", tmp_path)
    assert done.returncode == 1
    assert "training diverged: " in done.stdout + done.stderr
    assert json.loads((tmp_path / "run" / MANIFEST).read_text())["state"] == "finished"
    assert call("resume run", tmp_path).returncode == 1


def test_a_run_is_not_put_into_a_sweeps_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/sweep.json").write_text("{}")
    assert main(["train", "model=softmax", "hydra.run.dir=s"]) == 2
    assert "s: holds a sweep; choose another hydra.run.dir" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["sweep.json"]


def test_choices_of_ones_own_are_named_beside_the_labs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 3\n")
    assert main(["train", "--config-dir", "conf", "experiment=mnie", "--cfg", "job"]) == 2
    line = capsys.readouterr().err
    assert "experiment=mnie: must be one of cnn, " in line
    assert ", mine, " in line
    assert line.endswith("did you mean mine?\n")
    assert "_schema" not in line


@pytest.mark.parametrize("verb", ["evaluate", "verify", "predict", "export", "card"])
def test_a_sweeps_directory_is_not_taken_for_a_runs(verb: str, tmp_path: Path) -> None:
    (tmp_path / "s/0/checkpoints").mkdir(parents=True)
    (tmp_path / "s/sweep.json").write_text("{}")
    (tmp_path / "s/0/checkpoints/best.ckpt").write_text("x")
    image = ["x.png"] if verb == "predict" else []
    done = call(" ".join([verb, "s", *image]), tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"mnist-lab {verb}: s: is a sweep; mnist-lab runs s --trials lists its runs\n"
    )
    done = call(" ".join([verb, "s/0/checkpoints/best.ckpt", *image]), tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"is a checkpoint; give its run's directory: {tmp_path / 's/0'}\n")


def test_a_class_that_does_not_take_its_arguments_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "narrow.py").write_text(
        "import lightning as L\nclass Net(L.LightningModule):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "class Broken(Net):\n"
        "    def __init__(self, **_):\n        super().__init__(3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = "train allow_targets=[narrow.] logger=none model._target_=narrow."
    done = call(f"{command}Net", tmp_path)
    assert done.returncode == 2
    assert "Net.__init__() got an unexpected keyword argument 'num_classes'; a YAML" in done.stderr
    assert done.stderr.count("\n") == 1
    done = run(f"{command}Broken", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "narrow.py" in done.stderr  # an error within one's own code keeps its traceback
