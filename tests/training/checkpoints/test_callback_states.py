"""States of callbacks that are restored have the form of the callback's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from mnist_lab.errors import InputError, UntrustedError
from mnist_lab.training import Checkpoint
from mnist_lab.training.checkpoints.callback_states import check_states


class Mine(L.Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"count": 1}


def check(callback: L.Callback, state: Any) -> None:
    trainer: Any = SimpleNamespace(callbacks=[callback], ckpt_path="last.ckpt")
    check_states(trainer, {"callbacks": {callback.state_key: state}})


@pytest.mark.parametrize(
    "callback", [Checkpoint(), EarlyStopping("val/acc"), ModelCheckpoint(monitor="val/acc"), Mine()]
)
def test_a_callbacks_own_state_passes(callback: L.Callback) -> None:
    check(callback, callback.state_dict())


def test_what_has_become_known_since_the_start_passes(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="val/acc")
    path, score = f"{callback.dirpath}/x.ckpt", torch.tensor(0.5)
    state = callback.state_dict() | {"best_model_path": path, "best_model_score": score}
    state |= {"best_k_models": {path: score}, "kth_best_model_path": path, "current_score": score}
    check(callback, state)
    assert state["best_model_path"] == path


@pytest.mark.parametrize("state", [5, {}, {"best_score": 1.0, "best_step": 3, "seconds": "long"}])
def test_another_form_does_not(state: Any) -> None:
    with pytest.raises(InputError, match=r"last\.ckpt: its state of Checkpoint is missing"):
        check(Checkpoint(), state)


def test_a_state_of_ones_own_callback_is_ones_own() -> None:
    check(Mine(), "anything")


def test_files_elsewhere_are_refused_and_the_best_one_is_forgotten(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, monitor="val/acc")
    state = callback.state_dict() | {"best_model_path": f"{tmp_path}/../x.ckpt"}
    check(callback, state)
    assert state["best_model_path"] == ""
    with pytest.raises(UntrustedError, match=r"last\.ckpt: refused: its state of ModelCheckpoint"):
        check(callback, state | {"last_model_path": f"{tmp_path}/../x.ckpt"})
