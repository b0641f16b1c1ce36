"""Metrics that metrics= adds: exact, shown where accuracy is, and followed as the monitor."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from door import call, train
from sklearn.metrics import f1_score, roc_auc_score
from small_models import trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAUROC, MulticlassF1Score

from mnist_lab import MNISTDataModule, SoftmaxRegression
from mnist_lab.errors import ConfigError
from mnist_lab.inference.evaluate import predict_test_images
from mnist_lab.models.metric_callback import Metrics
from mnist_lab.training.fit import evaluate_on

SHORT = (
    "model=softmax optimizer.lr=0.3 scheduler=none trainer=cpu trainer.limit_train_batches=4 "
    "trainer.enable_model_summary=false ~callbacks.pictures"
)
OWN = """\
import torch
from torchmetrics import Metric
class Epochs(Metric):
    '''1 at the first validation, 2 at the second.'''
    higher_is_better = False
    def __init__(self):
        super().__init__()
        self.count = 0
    def update(self, probs, labels):
        assert probs.shape == (len(labels), 10)
    def compute(self):
        self.count += 1
        return torch.tensor(float(self.count))
"""


def best(run_dir: Path) -> dict[str, Any]:
    callbacks = torch.load(run_dir / "checkpoints" / "last.ckpt")["callbacks"]
    (state,) = (state for name, state in callbacks.items() if name.startswith("Checkpoint"))
    assert isinstance(state, dict)
    return state


def test_a_run_shows_its_metrics_and_keeps_the_best_by_one(
    tmp_path: Path,
) -> None:
    run_dir = train(
        f"{SHORT} metrics=[f1,top3,auroc,calibration] monitor=val/ece trainer.max_epochs=4 "
        "trainer.limit_val_batches=1 hydra.run.dir=run",
        tmp_path,
    )
    metrics = json.loads((run_dir / "metrics.json").read_text())
    log = EventAccumulator(str(run_dir)).Reload()
    curve = {event.value: event.step for event in log.Scalars("val/ece")}
    assert len(curve) == 4  # the validation of the best checkpoint is no point
    assert metrics["val/ece"] == pytest.approx(min(curve))  # mode follows the metric
    assert best(run_dir)["best_step"] == curve[min(curve)] + 1
    tags = log.Tags()["scalars"]
    assert {"z_result/best/val/ece", "z_result/test/f1", "val/top3"} <= set(tags)
    predictions = predict_test_images(run_dir)
    labels = predictions.labels
    f1 = f1_score(labels, predictions.preds, average="macro")
    assert metrics["test/f1"] == pytest.approx(f1, abs=1e-6)
    auroc = roc_auc_score(torch.nn.functional.one_hot(labels.long(), 10), predictions.probs)
    assert metrics["test/auroc"] == pytest.approx(auroc, abs=1e-5)
    done = call("evaluate run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{metrics['test/auroc']:.4f}" in done.stdout
    done = call("report .", tmp_path)
    assert "sorted by val/ece" in done.stdout
    assert f"{metrics['test/f1']:.4f}" in done.stdout


def test_epoch_line_and_table(tmp_path: Path) -> None:
    done = call(f"train {SHORT} metrics=f1 trainer.max_epochs=1 logger=none", tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("epoch 1"))
    assert "val/acc" in line
    assert "val/f1 0." in line
    assert "f1" in done.stdout.split("accuracy")[1].splitlines()[0]


def test_a_metric_of_ones_own_ends_a_run_early(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "epochs.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    command = (
        f"train {SHORT} +metrics.own._target_=epochs.Epochs monitor=val/own logger=none "
        "allow_targets=[epochs.] trainer.max_epochs=9 callbacks=early_stopping "
        "callbacks.early_stopping.patience=2 hydra.run.dir=run"
    )
    refused = call(command, tmp_path)
    assert refused.returncode == 2
    assert "mode=max: must be min, as epochs.Epochs says" in refused.stderr
    done = call(f"{command} mode=min", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"] == 3
    assert best(tmp_path / "run")["best_step"] == 4


@pytest.mark.thorough
def test_a_sweep_searches_and_prunes_by_a_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(
        f"train -m {SHORT} metrics=f1 monitor=val/f1 logger=none trainer.max_epochs=4 "
        "trainer.limit_val_batches=1 trainer.limit_test_batches=1 hydra.sweep.dir=s "
        "optimizer.lr=tag(log,interval(1e-4,1)) hydra.sweeper.sampler=tpe "
        "hydra.sweeper.n_trials=6 hydra.sweeper.pruner=successive_halving "
        "hydra.sweeper.pruner_options={min_resource:1,reduction_factor:2} hydra/launcher=fused",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "metrics= is not stacked" in done.stderr + done.stdout
    from sweeping import records

    trials = records()
    assert {record.state for record in trials} == {"finished", "pruned"}
    for record in trials:
        assert "val/f1=" in str(record.error) or record.values == [record.metrics["val/f1"]]
    finished = [record.metrics["val/f1"] for record in trials if record.state == "finished"]
    assert f"{max(finished):.4f}" in done.stdout
    report = call("report s", tmp_path).stdout
    assert "sorted by val/f1" in report
    assert report.index(f"{max(finished):.4f}") <= report.index(f"{min(finished):.4f}")


def test_values_of_batches_are_those_of_the_whole() -> None:
    data, model = MNISTDataModule(), SoftmaxRegression()
    added: dict[str, Metric] = {
        "f1": MulticlassF1Score(10, average="none"),
        "auroc": MulticlassAUROC(10),
    }
    metrics = evaluate_on(
        trainer(model, callbacks=[Metrics(added)], limit_val_batches=2), model, data
    )
    assert {"val/f1_class_0", "val/f1_class_9", "val/auroc", "test/auroc"} <= set(metrics)
    images, labels, _ = data.split(train=False)
    with torch.no_grad():
        probs = model(images).softmax(1)
    for name, metric in added.items():
        metric.reset()
        value = metric(probs, labels)
        found = metrics[f"test/{name}"] if value.ndim == 0 else metrics[f"test/{name}_class_3"]
        assert found == pytest.approx((value if value.ndim == 0 else value[3]).item(), abs=1e-6)


def test_a_model_whose_outputs_are_nan() -> None:
    model = SoftmaxRegression()
    torch.nn.init.constant_(next(model.parameters()), torch.nan)
    callback = Metrics({"f1": MulticlassF1Score(10), "auroc": MulticlassAUROC(10)})
    metrics = evaluate_on(trainer(model, callbacks=[callback]), model, MNISTDataModule())
    assert all(metrics[name] != metrics[name] for name in ("val/f1", "test/f1", "test/auroc"))


def test_a_metric_that_does_not_take_probabilities_is_refused_before_training() -> None:
    from torchmetrics import MeanSquaredError

    with pytest.raises(ConfigError, match=r"metrics\.mse: "):
        Metrics({"mse": MeanSquaredError()})


def test_no_metric_no_callback() -> None:
    from mnist_lab.config.compose import compose
    from mnist_lab.training.trainer import build_trainer

    config = compose(["model=softmax", "logger=none", "trainer=cpu"])
    built = build_trainer(config, SoftmaxRegression(), validates=True)
    assert not any(isinstance(callback, Metrics) for callback in built.callbacks)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    from door import run

    found = []
    for name in ("cpu", "ddp_cpu"):
        done = run(
            f"train {SHORT} metrics=[f1,auroc] trainer={name} trainer.max_steps=1 "
            f"optimizer.lr=1e-9 logger=none hydra.run.dir={name}",
            tmp_path,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    for name in ("val/f1", "test/f1", "val/auroc", "test/auroc"):
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-6)


def test_batches_that_are_no_pairs_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^metrics=f1: needs batches .* found dict; "):
        Metrics({"f1": MulticlassF1Score(10)}).on_validation_batch_end(
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            torch.zeros(2, 10),
            {"image": torch.zeros(2, 1, 28, 28), "label": torch.zeros(2, dtype=torch.long)},
            0,
        )
