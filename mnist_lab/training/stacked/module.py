"""The LightningModule of a stack: trials of one network, each trained as it would be alone.

A ``Stack`` holds the weights of K ordinary models in tensors ``(K, ...)``. One forward, one
backward and one optimizer step train them all; every model keeps its own loss, learning rate,
schedule, order of samples and random generator, so that no trial depends on which others are there.
On a CPU weights of an MLP or a softmax regression come out with the bits of the lone run on the
same number of threads; those of other models, which torch.func stacks, are equal up to rounding.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from mnist_lab.models import Classifier
from mnist_lab.models.metrics import (
    EvaluationSums,
    RunningSums,
    likeliest,
    targets,
    train_metrics,
)
from mnist_lab.training.phases import Phases
from mnist_lab.training.stacked.cuda_graph import Batch, Replay
from mnist_lab.training.stacked.data import Stream
from mnist_lab.training.stacked.losses import training_losses
from mnist_lab.training.stacked.network import EXACT, StackedNet, Tensors
from mnist_lab.training.stacked.optimizer import Moments, StackedOptimizer
from mnist_lab.training.stacked.schedules import StackedSchedules
from mnist_lab.training.stacked.vmapped import VmappedNet

Metrics = dict[int, dict[str, float]]  # by trial


@dataclass(frozen=True)
class TrialState:
    """A trial's training state, as an ordinary checkpoint holds it.

    Args:
        state_dict: of the ordinary model, such as ``net.1.weight`` ``(out, in)``, without ``K``.
        optimizer: state of torch's optimizer, as the lone run has it.
        schedule: state of torch's schedule; None where the learning rate is constant.
        rng: state of the CPU generator that dropout is drawn from, as ``torch.get_rng_state``.
        running: sums of the epoch, which ``Classifier.restore_running_state`` takes.
        steps: optimizer steps taken.
    """

    state_dict: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    rng: Tensor
    running: dict[str, Any]
    steps: int


class Stack(L.LightningModule):
    """Trains K models as one.

    Trials are numbered by their place in ``models``, also when others have left.

    Args:
        models: models of the same layers and optimizer; their weights are copied.
        streams: for each the seed and the fold of its data module; None is the same for all.
        rng_states: for each ``torch.get_rng_state()`` after it was built, from which a lone run
            draws dropout; None seeds with the trials' numbers.
        starts: for each the state that it is resumed from, all after as many steps, and whose
            weights its model has; None begins.
        phases: for each what changes its settings at the start of an epoch; None changes none.
    """

    def __init__(
        self,
        models: Sequence[Classifier],
        streams: Sequence[Stream] | None = None,
        rng_states: Sequence[Tensor] | None = None,
        starts: Sequence[TrialState] | None = None,
        phases: Sequence[Phases | None] | None = None,
    ) -> None:
        super().__init__()
        of_each = list(streams) if streams is not None else [(0, None)] * len(models)
        # Trials that share batches stand side by side, so that a batch meets one block of weights.
        self.trials = sorted(range(len(models)), key=lambda trial: of_each[trial])
        self._models = [models[trial] for trial in self.trials]
        self._streams = [of_each[trial] for trial in self.trials]
        self._starts = [starts[trial] for trial in self.trials] if starts else []
        self._phases = [phases[trial] if phases else None for trial in self.trials]
        self._generators = [Generator().manual_seed(trial) for trial in self.trials]
        if rng_states is not None:
            for trial, generator in zip(self.trials, self._generators, strict=True):
                generator.set_state(rng_states[trial])
        network = StackedNet if type(models[0]) in EXACT else VmappedNet
        self.net = network(self._models, self._generators)
        self._schedules: StackedSchedules  # from `configure_optimizers` on, as the optimizer
        self._optimizer: StackedOptimizer
        self._shares: tuple[int, ...]
        self._rows: Tensor
        self._smoothing: list[float]
        self._sent_smoothing: Tensor
        self._sums: RunningSums
        self._host: tuple[int, Tensors, Moments] | None  # copies of a GPU's, with their step
        self._replay = Replay(models[0])
        self._arrange()
        self._evaluation: EvaluationSums
        self._metrics: list[dict[str, float]] = [{} for _ in self.trials]
        self.on_epoch_end: Callable[[int, Metrics], Iterable[int]] | None = None
        self.on_log: Callable[[int, Metrics], None] | None = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The distinct streams ``(S,)`` of batches of the trials, in the order of their batches."""
        return tuple(dict.fromkeys(self._streams))

    def _arrange(self) -> None:
        """Derive from the trials in the stack what a step looks up."""
        streams, device = self.streams, self.device
        self._shares = tuple(Counter(self._streams).values())  # trials of each batch
        rows = [streams.index(stream) for stream in self._streams]
        self._rows = torch.tensor(rows, dtype=torch.long, device=device)
        self._smoothing = [model.label_smoothing for model in self._models]
        self._sent_smoothing = torch.tensor(self._smoothing, device=device)
        self._sums = RunningSums(len(self.trials), device)
        self._host = None
        self._replay.forget()

    @property
    def metrics(self) -> Metrics:
        """Each trial's metrics of the last epoch or evaluation, by the names of a lone run's."""
        return {
            trial: dict(metrics) for trial, metrics in zip(self.trials, self._metrics, strict=True)
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(K, B, num_classes)`` in the order of ``trials``.

        Images are ``(S, B, 1, 28, 28)`` uint8, a batch for each of ``streams`` or, S = 1, for all.
        """
        shares = self._shares if len(images) > 1 else (len(self.trials),)
        logits: Tensor = self.net(images, shares)
        return logits

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Skip the rest of an epoch for which no trial is left."""
        return None if self.trials else -1

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the sum of the trials' mean losses, of which each trial has its own gradient."""
        with self.net.stream(self.device):
            loss, *counted = self._losses(batch)
        self._sums.add(*counted)
        return loss

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the sum of the losses, and each trial's loss, logits and labels to be counted."""
        images, labels = batch
        logits = self(images)  # (K, B, num_classes)
        labels = labels.index_select(0, self._rows)  # (K, B)
        losses, reported = training_losses(
            logits, targets(labels, logits), self._smoothing, self._sent_smoothing
        )
        return losses.sum(), reported, logits.detach(), likeliest(labels, 2)

    def replayed_step(
        self, batch: Batch, precision: Callable[[], AbstractContextManager[None]]
    ) -> Tensor | None:
        """Take a whole step by a CUDA graph, and return its loss.

        None is returned, and nothing done, where there is none (``Replay.of``). ``precision`` is of
        the forward pass.
        """
        graph = self._replay.of(partial(self._whole_step, precision), batch)
        if graph is None:
            return None
        self._optimizer.prepare()
        with self.net.stream(self.device):
            loss, *counted = graph(batch)
        self._sums.add(*counted)
        return loss

    def _whole_step(
        self, precision: Callable[[], AbstractContextManager[None]], batch: Batch
    ) -> tuple[Tensor, ...]:
        """Do on the device what belongs to a step; return its loss and what ``_losses`` does."""
        with precision():
            loss, *counted = self._losses(batch)
        self._drop_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.apply()
        return loss.detach(), *counted

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Hand over the metrics of every so many steps, under the names that a lone run logs."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not self.on_log or not every or (self.global_step + 1) % every:
            return
        metrics: Metrics = {}
        sums = self._sums.since_last().tolist()
        for trial, own, row in zip(self.trials, self._optimizer.own, sums, strict=True):
            metrics[trial] = train_metrics(row, "_step") | {"lr": own.param_groups[0]["lr"]}
        self.on_log(self.global_step, metrics)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Step the schedules that go by step and, after the last step, those that go by epoch."""
        last = self.trainer.is_last_batch or batch_idx + 1 >= self.trainer.num_training_batches
        if self._schedules.step(ends_epoch=last):
            self._optimizer.has_changed = True

    def on_train_epoch_start(self) -> None:
        """Start the epoch's phases, sums and metrics, without those of a sanity check."""
        if any(self._phases):
            self._set_phases()
        self._optimizer.has_changed = True  # by phases, or a schedule that goes by a metric
        self._sums = RunningSums(len(self.trials), self.device)
        self._metrics = [{} for _ in self.trials]

    def _set_phases(self) -> None:
        """Give the trials the settings of the epoch."""
        own, before = zip(self._phases, self._models, self._optimizer.own, strict=True), self._rates
        for phases, model, optimizer in own:
            if phases is not None:
                phases.set(self.current_epoch, model, optimizer)
        if self._rates != before:  # a step is recorded anew
            self.net.follow_rates()
            self._arrange()

    @property
    def _rates(self) -> list[tuple[float, ...]]:
        """Each trial's label smoothing and rates of dropout, which a recorded step holds."""
        dropouts = [
            [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]
            for model in self._models
        ]
        return [
            (model.label_smoothing, *rates)
            for model, rates in zip(self._models, dropouts, strict=True)
        ]

    def on_train_epoch_end(self) -> None:
        """Ask the caller which trials leave, when all that belongs to the epoch is done."""
        epoch_sums = self._sums.of_epoch().tolist()  # waits for the device
        seconds = self._sums.seconds
        for metrics, row in zip(self._metrics, epoch_sums, strict=True):
            # In float32 at last, as Lightning keeps what it is given.
            own = {name: torch.tensor(value).item() for name, value in train_metrics(row).items()}
            metrics |= own | {"time/epoch": seconds}
        self._sums = RunningSums(len(self.trials), self.device)
        self._schedules.step_plateaus(self._metrics)
        if self.on_epoch_end is not None:
            self._drop(set(self.on_epoch_end(self.current_epoch, self.metrics)))

    def on_validation_epoch_start(self) -> None:
        """Start the sums of a split."""
        classes = self._models[0].num_classes if self._models else 0
        self._evaluation = EvaluationSums(len(self.trials), classes, self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add a batch, which all trials see, or a batch for each of ``streams``."""
        images, labels = batch
        if not self.trials:
            return
        if labels.ndim == 1:
            images = images[None]
        else:
            labels = labels.index_select(0, self._rows.to(labels.device))  # (K, B)
        self._evaluation.add(self(images), labels)

    def on_validation_epoch_end(self) -> None:
        """Keep each trial's loss and accuracy."""
        self._end_evaluation("val")

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Keep each trial's metrics."""
        self._end_evaluation("test")

    def _end_evaluation(self, split: str) -> None:
        sums = self._evaluation
        sums.losses, sums.confusion = sums.losses.cpu(), sums.confusion.cpu()
        for metrics, result in zip(self._metrics, sums.results(split), strict=True):
            metrics.update({name: value.item() for name, value in result.items()})

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Drop the gradients."""
        self._drop_gradients()

    def _drop_gradients(self) -> None:
        for parameter in self.net.parameters():
            parameter.grad = None

    def on_fit_end(self) -> None:
        """Free the memory of a GPU that training alone takes; what is unstacked is on the CPU."""
        self._replay.forget()
        self._drop_gradients()
        if self.device.type != "cpu":
            self._optimizer.moments = self._on_host()[1]

    def configure_optimizers(self) -> StackedOptimizer:
        """Build each trial's own optimizer and schedule, and what steps by their settings.

        Raises:
            ConfigError: torch refuses a setting, or a schedule needs a length that is not known.
        """
        self._schedules = StackedSchedules(self._models, self.trainer)
        name = self._models[0].optimizer_settings["name"]
        parameters = list(self.net.parameters())
        self._optimizer = StackedOptimizer(name, parameters, self._schedules.optimizers)
        for position, start in enumerate(self._starts):
            self._optimizer.load(position, start.optimizer, start.steps)
            if start.schedule is not None:
                self._schedules.load(position, start.schedule)
        self._arrange()  # on the device that the stack is on by now
        return self._optimizer

    def _drop(self, gone: set[int]) -> None:
        """Take trials out; the others train as if they had never been there, until none is left."""
        if not gone:
            return
        positions = [at for at, trial in enumerate(self.trials) if trial not in gone]
        for name in ("trials", "_models", "_streams", "_generators", "_metrics", "_phases"):
            setattr(self, name, [getattr(self, name)[at] for at in positions])
        self._arrange()
        self.net.keep(positions, self._generators)
        self._optimizer.keep(positions)
        self._schedules.keep(positions)
        if not positions:
            self.trainer.should_stop = True

    def _on_host(self) -> tuple[Tensors, Moments]:
        """Return the stacked weights and moments; on a GPU copies, made once a step."""
        steps, moments = self._optimizer.steps_taken, self._optimizer.moments
        if self.device.type == "cpu":
            return self.net.state_dict(), moments
        if self._host is None or self._host[0] != steps:
            weights = {name: tensor.cpu() for name, tensor in self.net.state_dict().items()}
            copies = {name: [each.cpu() for each in kind] for name, kind in moments.items()}
            self._host = steps, weights, copies
        return self._host[1:]

    def unstack(self, trial: int) -> TrialState:
        """Return a trial's state, after writing its weights into its ordinary model."""
        position = self.trials.index(trial)
        weights, moments = self._on_host()
        self.net.write_back(position, weights)
        state = self._models[position].state_dict()
        return TrialState(
            state_dict={name: tensor.clone() for name, tensor in state.items()},
            optimizer=self._optimizer.write_back(position, moments),
            schedule=self._schedules.state(position),
            rng=self._generators[position].get_state(),
            running=self._sums.state(position),
            steps=self._optimizer.steps_taken,
        )
