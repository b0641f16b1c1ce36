"""Loss, metrics, steps and optimizer that every model shares."""

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_lab.errors import ConfigError
from mnist_lab.models.arguments import INITS, LABEL_SMOOTHING, NUM_CLASSES, OPTIMIZERS, SCHEDULERS
from mnist_lab.models.layers import check_range, image_shape, one_of, plain
from mnist_lab.models.metrics import (
    EvaluationSums,
    RunningSums,
    likeliest,
    targets,
    train_metrics,
)
from mnist_lab.models.optimizers import build_optimizer, build_schedule

PIXEL_SCALE = 1 / 255  # of uint8 images, which models see in [0, 1]


def _settings(key: str, given: Any, default: str, names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of an optimizer or a schedule; a text is its name.

    Raises:
        ConfigError: they are something else, or there is no such name.
    """
    given = {"name": given} if isinstance(given, str) else given or {}
    name = given.get("name", default) if isinstance(given, Mapping) else None
    if not isinstance(name, str):
        raise ConfigError(
            f"{key}={given}: must be a name, or a mapping of a name and its arguments, as "
            f"{{'name': '{default}'}}"
        )
    if "." not in name:  # else that of a class, imported where it is built
        one_of(f"{key}.name", name, names)
    return {"name": name, **plain(given)}


class SharedArgs(TypedDict, total=False):
    """The arguments of ``Classifier``, which every model takes."""

    num_classes: int | None
    in_shape: Sequence[int] | None
    init: str
    label_smoothing: float
    optimizer: Mapping[str, Any] | str | None
    scheduler: Mapping[str, Any] | str | None


class Classifier(L.LightningModule, ABC):
    """Classifies images; a subclass builds ``self.net`` and calls ``initialize``.

    All arguments are builtins, so that a checkpoint loads with ``weights_only=True`` anywhere.
    Validation and test losses are plain cross-entropy, without label smoothing.

    Args:
        num_classes: number of classes, 2 to 1,000; None is MNIST's 10.
        in_shape: ``(channels, height, width)`` of the images; None is MNIST's ``(1, 28, 28)``.
        init: weight initialisation: ``default`` (torch's own), ``zeros``, ``glorot_uniform`` with
            zero biases, ``truncated_normal`` (standard deviation 0.1, cut at two of them) with
            biases of 0.1, or ``normal`` (weights and biases with standard deviation 1).
        label_smoothing: share of the target spread over all classes in training, 0 to 1.
        optimizer: ``name`` (adam, adamw, sgd, or a class's dotted name) and the arguments of that
            class, or the name alone; None is Adam with its defaults.
        scheduler: ``name`` (none, cosine, warmup_cosine, one_cycle, exponential, plateau, or a
            class's dotted name) and the arguments of torch's class; cosine, warmup_cosine and
            one_cycle go by step over the whole run, exponential and plateau by epoch, a class as
            its ``interval`` says. A name alone is as above; None keeps the learning rate.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    net: nn.Module
    gains_by_bf16 = False  # whether `precision: auto` picks bf16-mixed where it is native

    def __init__(
        self,
        num_classes: int | None = 10,
        in_shape: Sequence[int] | None = (1, 28, 28),
        init: str = "default",
        label_smoothing: float = 0.0,
        optimizer: Mapping[str, Any] | str | None = None,
        scheduler: Mapping[str, Any] | str | None = None,
    ) -> None:
        super().__init__()
        num_classes = 10 if num_classes is None else num_classes
        in_shape = (1, 28, 28) if in_shape is None else in_shape
        self.save_hyperparameters(logger=False)
        self.hparams.update(num_classes=num_classes, in_shape=in_shape)
        self.hparams.update(plain(self.hparams))
        check_range("model.num_classes", num_classes, NUM_CLASSES)
        check_range("model.label_smoothing", label_smoothing, LABEL_SMOOTHING, float)
        self.num_classes = num_classes
        self.in_shape = image_shape(in_shape)
        self.init = one_of("model.init", init, INITS)
        self.label_smoothing = label_smoothing
        self.optimizer_settings = _settings("optimizer", optimizer, "adam", OPTIMIZERS)
        self.scheduler_settings = _settings("scheduler", scheduler, "none", SCHEDULERS)
        self._sums = RunningSums()
        self._evaluation: EvaluationSums

    def __setattr__(self, name: str, value: Any) -> None:
        """Store Lightning's bookkeeping of hooks without nn.Module's search for what it is.

        Lightning sets this attribute about 44 times a step, which costs a small MLP 15 % of its
        epoch when it goes through ``nn.Module.__setattr__``.
        """
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw the weights of ``self.net`` as ``init`` says; batch norm keeps torch's own."""
        for layer in self.net.modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            bias = torch.empty(0) if layer.bias is None else layer.bias
            match self.init:
                case "zeros":
                    nn.init.zeros_(layer.weight)
                    nn.init.constant_(bias, 0.0)
                case "glorot_uniform":
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.constant_(bias, 0.0)
                case "truncated_normal":
                    nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
                    nn.init.constant_(bias, 0.1)
                case "normal":
                    nn.init.normal_(layer.weight)
                    nn.init.normal_(bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)`` for ``(B, *in_shape)`` images, uint8 or in [0, 1].

        Raises:
            ConfigError: the images are of another shape, which the network does not take.
        """
        if images.dtype == torch.uint8:
            images = images.to(self.dtype).mul_(PIXEL_SCALE)
        try:
            logits: Tensor = self.net(images)
        except RuntimeError as error:
            if images.shape[1:] == self.in_shape:
                raise
            raise ConfigError(
                f"model.in_shape={list(self.in_shape)}: the data's images are "
                f"{list(images.shape[1:])}, which {type(self).__name__} so built does not take"
            ) from error
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        """Return the mean loss of a batch, weighted where ranks hold unequal shares of it."""
        images, labels, *global_size = batch
        logits = self(images)  # (B, num_classes)
        try:
            loss, own = self._losses(logits, targets(labels, logits), global_size)
        except IndexError as error:
            raise self._beyond_classes(labels) from error
        self._sums.add(own.detach(), logits.detach(), likeliest(labels, 1))
        return loss

    def _losses(
        self, logits: Tensor, labels: Tensor, global_size: Sequence[Any]
    ) -> tuple[Tensor, Tensor]:
        """Return the loss to take the gradient of, and the mean of this rank's samples."""
        if global_size:  # several ranks: their mean of this is the mean over the global batch
            total = F.cross_entropy(
                logits, labels, reduction="sum", label_smoothing=self.label_smoothing
            )
            loss: Tensor = total * (self.trainer.world_size / global_size[0])
            own = total / max(1, len(labels))
        else:
            loss = own = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return loss, own

    def _beyond_classes(self, labels: Tensor) -> ConfigError:
        """Return the error of labels that are no classes, which torch finds on a CPU."""
        return ConfigError(
            f"model.num_classes={self.num_classes}: data.labels go from {int(labels.min())} to "
            f"{int(labels.max())}; must be from 0 to {self.num_classes - 1}"
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log what every so many steps is due; a step may have taken several batches.

        It goes to the loggers directly: ``self.log`` takes 1 ms for what is one line in a file.
        """
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or (self.global_step + 1) % every:
            return
        (sums,) = self._across_ranks(self._sums.since_last()).tolist()
        metrics = train_metrics(sums, "_step") | {"lr": optimizer.param_groups[0]["lr"]}
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics, step=self.global_step)

    def on_train_start(self) -> None:
        """Start sums and clock also where Lightning resumes within an epoch, which starts none.

        Raises:
            ConfigError: an epoch's last batch is too small for batch norm.
        """
        self.on_train_epoch_start()
        loader: Any = self.trainer.train_dataloader
        last_size = getattr(loader, "last_size", None)
        has_norm = any(isinstance(layer, nn.BatchNorm1d) for layer in self.modules())
        if not has_norm or last_size is None or last_size > 1:
            return
        if self.trainer.num_training_batches >= len(loader):
            raise ConfigError(
                f"data.batch_size={loader.batch_size}: leaves {'one' if last_size else 'no'} image "
                f"{'for an' if loader.world_size == 1 else 'for a process in an'} epoch's last "
                "batch, on which batch norm cannot be trained; take another size"
            )

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums and clock."""
        self._sums = RunningSums(device=self.device)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss and accuracy, and its time in seconds, validation included."""
        (sums,) = self._across_ranks(self._sums.of_epoch()).tolist()
        metrics = train_metrics(sums) | {"time/epoch": self._sums.seconds}
        self.log_dict(metrics, sync_dist=True)

    def running_state(self) -> dict[str, Any]:
        """Return what a checkpoint within an epoch needs for the epoch's metrics."""
        return self._sums.state()

    def restore_running_state(self, state: dict[str, Any]) -> None:
        """Continue the metrics of an interrupted epoch, after its start."""
        if state:
            self._sums.restore(state)

    def _across_ranks(self, sums: Tensor) -> Tensor:
        total = self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def on_validation_epoch_start(self) -> None:
        """Start the sums of the split."""
        self._evaluation = EvaluationSums(1, self.num_classes, self.device)

    def validation_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor | None:
        """Add a batch to the metrics of the split; return its logits ``(B, num_classes)``."""
        images, labels = batch[:2]
        if len(labels) == 0:  # a rank without a share of the last batch
            return None
        logits: Tensor = self(images)
        try:
            self._evaluation.add(logits[None], labels)
        except IndexError as error:
            raise self._beyond_classes(labels) from error
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss and accuracy."""
        self._log_evaluation("val")

    def on_test_epoch_start(self) -> None:
        """Start the sums of the split."""
        self.on_validation_epoch_start()

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Log loss, accuracy, number of samples and per-class accuracy; keep the matrix."""
        self._log_evaluation("test")
        (confusion,) = self._evaluation.confusion.cpu()
        self.test_confusion_matrix = confusion  # (num_classes, num_classes), rows are labels

    def _log_evaluation(self, split: str) -> None:
        """Log the metrics of a split over all ranks."""
        sums = self._evaluation
        sums.losses = self._across_ranks(sums.losses)
        sums.confusion = self._across_ranks(sums.confusion)
        (metrics,) = sums.results(split)
        self.log_dict(metrics, sync_dist=True)

    def predict_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        """Return probabilities ``(B, num_classes)``."""
        logits: Tensor = self(batch[0])
        return logits.softmax(dim=1)

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop the gradients without the profiling hooks of ``Optimizer.zero_grad``."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the schedule that the settings name.

        Raises:
            ConfigError: torch refuses a setting, or the schedule needs a length that is not known.
        """
        optimizer = build_optimizer(self.optimizer_settings, self.parameters(), self._may_fuse())
        if self.scheduler_settings["name"] == "none":
            return optimizer
        schedule = build_schedule(self.scheduler_settings, optimizer, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _may_fuse(self) -> bool:
        """Return whether gradients need no clipping in mixed precision, without fused steps."""
        try:
            trainer = self.trainer
        except RuntimeError:  # a training loop without a trainer
            return True
        return not (trainer.gradient_clip_val and "mixed" in trainer.precision)
