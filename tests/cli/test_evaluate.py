"""mnist-lab evaluate, of runs that are damaged, and used wrongly."""

import shutil
from pathlib import Path

import pytest
import torch
from door import FEW_BATCHES, call


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("cut", "best.ckpt"),
        ("empty", "best.ckpt"),
        ("other", "best.ckpt"),
        ("none", "no checkpoint"),
        ("config", "config.yaml"),
    ],
)
def test_a_damaged_run_is_one_line_and_exit_3(
    trained: Path, tmp_path: Path, damage: str, words: str
) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    best = copy / "checkpoints" / "best.ckpt"
    match damage:
        case "cut":
            best.write_bytes(best.read_bytes()[:5000])
        case "empty":
            best.write_bytes(b"")
        case "other":
            torch.save({"state_dict": {}, "hyper_parameters": {}}, best)
        case "none":
            shutil.rmtree(best.parent)
        case "config":
            (copy / "config.yaml").write_text("model: [")
    done = call(f"evaluate {copy}", tmp_path)
    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_metrics_are_a_table(trained: Path, tmp_path: Path) -> None:
    done = call(f"evaluate {trained}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [word for word in ("accuracy", "loss", "val", "test") if word not in done.stdout] == []


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_run_that_has_nothing_to_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "own_code.")
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "few.yaml").write_text("_target_: own_code.TrainOnly\n")
    chosen = "model=softmax --config-dir mine data=few hydra.run.dir=run"
    done = call(f"train {FEW_BATCHES} ~callbacks.pictures {chosen}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("run/*")} >= {"metrics.json", "checkpoints"}
    done = call("evaluate run", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "run: nothing to evaluate: a data module's val_dataloader with the model's "
        "validation_step, or test_dataloader with test_step, is required\n"
    )


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_metrics_of_other_names_are_columns_of_several_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "own_code.")
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "lit.yaml").write_text("_target_: own_code.Lit\n")
    few = f"train {FEW_BATCHES} ~callbacks.pictures"
    for words in (
        "--config-dir mine model=lit monitor=val_loss mode=min hydra.run.dir=own",
        "model=softmax hydra.run.dir=labs",
    ):
        done = call(f"{few} {words}", tmp_path)
        assert done.returncode == 0, done.stderr
    done = call("evaluate own labs", tmp_path)
    assert done.returncode == 0, done.stderr
    heading, _, own, labs = (line.split() for line in done.stdout.splitlines())
    assert heading == ["run", "val/acc", "val/loss", "test/acc", "test/loss", "val_loss"]
    assert own[:5] == ["own", *["-"] * 4]
    assert float(own[5]) > 0
    assert labs[5] == "-"
