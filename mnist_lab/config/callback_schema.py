"""Schemas of the callbacks that conf/ has: what each is given, with types, ranges and meanings."""

from dataclasses import dataclass
from typing import Any

from mnist_lab.config.knob import knob


@dataclass
class Checkpoint:
    """The best checkpoint and the last two, from each of which a run can be resumed."""

    _target_: str = "mnist_lab.training.Checkpoint"
    monitor: str | None = knob("${monitor}", "metric that chooses the best; null takes the last")
    mode: str = knob("${mode}", "whether more or less is better", choices=("max", "min"))
    every_n_steps: int | None = knob(None, "optimizer steps between saves; null: no count", low=1)
    every_n_seconds: float | None = knob(20.0, "seconds between saves; null: no clock", low=0)


@dataclass
class Pictures:
    """What TensorBoard shows of the tested model; all together take a second or two."""

    _target_: str = "mnist_lab.callbacks.Pictures"
    confusion: bool = knob(True, "confusion matrix as a heat map with counts")
    mistakes: bool = knob(True, "most confident mistakes, with label, pred and probability")
    samples: bool = knob(True, "first test images of each class, with pred and probability")
    per_class: bool = knob(True, "precision and recall of each class")
    pr_curves: bool = knob(True, "precision-recall curve of each class")
    reliability: bool = knob(True, "accuracy against confidence, expected calibration error")
    filters: bool = knob(True, "weights of the first layer as images")
    histograms: bool = knob(True, "histograms of the weights")
    projector: bool = knob(True, "penultimate layer of 1,000 test images in the projector")


@dataclass
class EarlyStopping:
    """The arguments of Lightning's EarlyStopping."""

    _target_: str = "lightning.pytorch.callbacks.EarlyStopping"
    monitor: str = knob("${monitor}", "metric to watch")
    min_delta: float = knob(0.0, "change that counts as progress", low=0)
    patience: int = knob(3, "validations without progress before the end", low=0)
    verbose: bool = knob(False, "whether progress is announced")
    mode: str = knob("${mode}", "whether more or less is better", choices=("max", "min"))
    strict: bool = knob(True, "whether a missing metric is an error")
    check_finite: bool = knob(True, "whether NaN or infinity ends the run")
    stopping_threshold: float | None = knob(None, "good enough to end the run")
    divergence_threshold: float | None = knob(None, "bad enough to end the run")
    check_on_train_epoch_end: bool | None = knob(None, "true looks after training epochs")
    log_rank_zero_only: bool = knob(False, "whether only rank 0 announces")


@dataclass
class MovingAverage:
    """The arguments of Lightning's EMAWeightAveraging."""

    _target_: str = "lightning.pytorch.callbacks.EMAWeightAveraging"
    device: str | None = knob(None, "device of the average; null is the model's")
    use_buffers: bool = knob(True, "whether buffers, as batch norm has, are averaged")
    decay: float = knob(0.999, "share of the average that is kept at an update", low=0, below=1)
    update_every_n_steps: int = knob(1, "optimizer steps between updates; 0: none", low=0)
    update_starting_at_step: int | None = knob(None, "first step that counts; null: 0", low=0)
    update_starting_at_epoch: int | None = knob(
        None, "epoch from which an epoch's end is an update; null: none is", low=0
    )


@dataclass
class WeightMean:
    """The arguments of Lightning's StochasticWeightAveraging: Izmailov and others, 2018."""

    _target_: str = "lightning.pytorch.callbacks.StochasticWeightAveraging"
    swa_lrs: Any = knob(
        1e-3,
        "learning rate while weights are averaged; a list has one a group",
        above=0,
        each=float,
    )
    swa_epoch_start: Any = knob(
        0.8,
        "epoch (int) or share (float) of the epochs where it begins",
        number=float,
        above=0,
        share=True,
    )
    annealing_epochs: int = knob(10, "epochs in which the learning rate comes to swa_lrs", low=0)
    annealing_strategy: str = knob("cos", "how it comes there", choices=("cos", "linear"))
    device: str | None = knob("cpu", "device of the mean; null is the model's")


CALLBACKS: dict[str, type[Any]] = {
    "checkpoint": Checkpoint,
    "pictures": Pictures,
    "early_stopping": EarlyStopping,
    "ema": MovingAverage,
    "swa": WeightMean,
}
