"""The fast loop and Lightning's own give the same bits, and the same calls in the same order."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback

from mnist_lab import CNN, MLP, MNISTDataModule
from mnist_lab.models import Classifier
from mnist_lab.training.epoch_loop import FastEpochLoop, use_fast_loop

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
)


class Recorder(L.Callback):
    """Keeps the name of each hook that is called, with the step and the loss."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, float | None]] = []


def _record(name: str) -> Callable[..., None]:
    def hook(self: Recorder, trainer: L.Trainer, _model: L.LightningModule, *rest: Any) -> None:
        outputs = rest[0] if name == "on_train_batch_end" else None
        loss = float(outputs["loss"]) if outputs else None
        self.calls.append((name, trainer.global_step, loss))

    return hook


for _name in HOOKS:
    setattr(Recorder, _name, _record(_name))


def _fit(
    make: Callable[[], Classifier],
    fast: bool,
    data: type[MNISTDataModule] = MNISTDataModule,
    **options: Any,
) -> tuple[Any, ...]:
    L.seed_everything(3, verbose=False)
    recorder, model = Recorder(), make()
    trainer = L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "limit_train_batches": 12,
            "log_every_n_steps": 5,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "callbacks": [recorder],
            **options,
        }
    )
    if fast:
        use_fast_loop(trainer)
    trainer.fit(model, data(batch_size=32, augment="affine"))
    epoch_loop = trainer.fit_loop.epoch_loop
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k != "time/epoch"}
    state = epoch_loop.state_dict()
    was_fast = isinstance(epoch_loop, FastEpochLoop) and epoch_loop._hooks is not None
    return was_fast, model.state_dict(), recorder.calls, metrics, state


class EveryThird(MLP):
    """A model of one's own with a schedule that takes a step after each third batch."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        its = {"scheduler": schedule, "interval": "step", "frequency": 3}
        return {"optimizer": optimizer, "lr_scheduler": its}


class SecondOrder(MLP):
    """Trained by an optimizer whose step evaluates the model several times."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=2)


class Sharpness(torch.optim.SGD):
    """SAM's step, whose closure is optional by its signature alone."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        assert closure is not None, "takes two steps"
        with torch.enable_grad():
            loss = closure()
            parameters = self.param_groups[0]["params"]
            moves = [0.05 * parameter.grad for parameter in parameters]
        with torch.no_grad():
            torch._foreach_add_(parameters, moves)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            torch._foreach_sub_(parameters, moves)
        super().step()
        return loss


class Flat(MLP):
    """Trained by an optimizer of one's own."""

    def configure_optimizers(self) -> Any:
        return Sharpness(self.parameters(), lr=0.1)


CASES: dict[str, tuple[Callable[[], Classifier], dict[str, Any], bool]] = {
    "plain": (lambda: MLP([16]), {}, True),
    "dropout": (lambda: MLP([16], dropout=0.5), {}, True),
    "step schedule": (lambda: MLP([16], scheduler={"name": "one_cycle"}), {}, True),
    "schedule of each third step": (lambda: EveryThird([16]), {}, True),
    "epoch schedule": (
        lambda: MLP([16], scheduler={"name": "exponential", "gamma": 0.5}),
        {},
        True,
    ),
    "plateau": (lambda: MLP([16], scheduler={"name": "plateau", "patience": 0}), {}, True),
    "sgd": (lambda: MLP([16], optimizer={"name": "sgd", "lr": 0.1}), {}, True),
    "bf16": (lambda: CNN([4], 3, 2, [8]), {"precision": "bf16-mixed"}, True),
    "max_steps": (lambda: MLP([16]), {"max_steps": 7}, True),
    "validation within": (lambda: MLP([16]), {"val_check_interval": 4}, True),
    "accumulation": (lambda: MLP([16]), {"accumulate_grad_batches": 3}, False),
    "clipping": (lambda: MLP([16]), {"gradient_clip_val": 0.1}, False),
    "closure": (lambda: SecondOrder([16]), {}, False),
    "closure of ones own": (lambda: Flat([16]), {}, False),
    "profiler": (lambda: MLP([16]), {"profiler": "simple"}, False),
}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("case", CASES)
def test_same_as_lightnings_own(case: str) -> None:
    make, options, takes_fast_path = CASES[case]
    was_fast, weights, calls, metrics, state = _fit(make, fast=True, **options)
    _, its_weights, its_calls, its_metrics, its_state = _fit(make, fast=False, **options)
    assert was_fast is takes_fast_path
    assert calls == its_calls
    assert len(calls) > 7
    assert metrics == its_metrics
    assert state == its_state
    for name, value in its_weights.items():
        assert torch.equal(weights[name], value), name


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
def test_a_model_of_ones_own_with_hooks_goes_through_lightning() -> None:
    class Mine(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch[0].flip(-1), *batch[1:]

    was_fast, weights, *_ = _fit(Mine, fast=True)
    assert not was_fast
    _, its_weights, *_ = _fit(Mine, fast=False)
    assert torch.equal(weights["net.1.weight"], its_weights["net.1.weight"])


class InvertedData(MNISTDataModule):
    """Changes batches where they are moved to the device, in training and in validation."""

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        images, *others = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return (255 - images, *others)


class InvertingModel(MLP):
    """As ``InvertedData``, in the model."""

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        images, *others = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return (255 - images, *others)


@pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`")
@pytest.mark.parametrize(
    ("make", "data"),
    [(MLP, InvertedData), (InvertingModel, MNISTDataModule)],
    ids=["data", "model"],
)
def test_what_moves_batches_is_called_in_training_too(
    make: type[MLP], data: type[MNISTDataModule]
) -> None:
    was_fast, weights, *_ = _fit(lambda: make([16]), True, data)
    assert not was_fast
    _, its_weights, *_ = _fit(lambda: make([16]), False, data)
    assert torch.equal(weights["net.1.weight"], its_weights["net.1.weight"])
    _, others, *_ = _fit(lambda: MLP([16]), True)
    assert not torch.equal(weights["net.1.weight"], others["net.1.weight"])


class Skips(MLP):
    """Skips the rest of each epoch from a batch on."""

    start = 3

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == self.start else None


class SkipsAll(Skips):
    """Trains on no batch."""

    start = 0


@pytest.mark.parametrize("kind", [Skips, SkipsAll])
def test_a_model_may_skip_the_rest_of_an_epoch(kind: type[Skips]) -> None:
    was_fast, weights, calls, metrics, _ = _fit(lambda: kind([16]), fast=True)
    assert was_fast
    assert ("train/loss" in metrics) == (kind is Skips)
    _, its_weights, its_calls, *_ = _fit(lambda: kind([16]), fast=False)
    assert calls == its_calls
    assert torch.equal(weights["net.1.weight"], its_weights["net.1.weight"])


@pytest.mark.parametrize("answer", [-1, torch.tensor([-1, -1])])
def test_the_answer_of_a_callback_skips_nothing(answer: Any) -> None:
    callback = LambdaCallback(on_train_batch_start=lambda *_: answer)
    was_fast, *_, state = _fit(lambda: MLP([16]), fast=True, callbacks=[callback])
    assert was_fast
    assert state["batch_progress"]["total"]["completed"] == 24


def test_a_hook_that_was_set_on_a_callback_is_called() -> None:
    seen: list[int] = []
    callback = LambdaCallback(on_train_batch_end=lambda *arguments: seen.append(arguments[-1]))
    was_fast, *_ = _fit(lambda: MLP([16]), fast=True, callbacks=[callback])
    assert was_fast
    assert seen == [*range(12), *range(12)]


def test_a_training_step_of_ones_own_goes_through_lightning() -> None:
    class Mine(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))

        def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Any:
            return {"loss": super().training_step(batch, batch_idx)}

    was_fast, *_ = _fit(Mine, fast=True)
    assert not was_fast


@pytest.mark.parametrize("model", [SecondOrder, Flat])
def test_an_optimizer_whose_step_may_need_a_closure_is_left_to_lightning(model: type[MLP]) -> None:
    was_fast, *_ = _fit(lambda: model([4]), True, max_epochs=1, limit_train_batches=2)
    assert not was_fast
