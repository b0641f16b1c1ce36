"""Lightning's ModelCheckpoint: its folder, what a resumed run keeps of it, what it may name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.training.checkpoints.model_checkpoints import KEY, files, give_folders, rewind


def trainer(folder: Path, *callbacks: Any) -> Any:
    return SimpleNamespace(
        default_root_dir=str(folder),
        callbacks=list(callbacks),
        is_global_zero=True,
        ckpt_path="last.ckpt",
    )


def saved(folder: Path, callback: ModelCheckpoint, *names: str) -> dict[str, Any]:
    """Return a checkpoint's content after a ModelCheckpoint has saved files."""
    run = trainer(folder, callback)
    give_folders(run)
    own = Path(str(callback.dirpath))
    own.mkdir(parents=True, exist_ok=True)
    for name in names:
        (own / name).write_bytes(b"")
    callback.best_k_models = {str(own / name): torch.tensor(0.5) for name in names}
    callback.last_model_path = callback.best_model_path = str(own / names[-1])
    return {"callbacks": {callback.state_key: callback.state_dict()}, KEY: files(run)}


def test_each_has_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = ModelCheckpoint(), ModelCheckpoint(monitor="val/loss")
    typed = ModelCheckpoint(dirpath=tmp_path / "elsewhere", every_n_train_steps=1)
    give_folders(trainer(tmp_path, first, EarlyStopping("val/loss"), second, typed))
    folders = [Path(str(callback.dirpath)) for callback in (first, second, typed)]
    assert len({*folders, tmp_path / "checkpoints"}) == 4
    assert folders[2] == tmp_path / "elsewhere"


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/", "x/../checkpoints", "."])
def test_the_runs_own_folder_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path / "checkpoints" if place == "." else tmp_path)
    callback = ModelCheckpoint(dirpath=place)
    with pytest.raises(ConfigError, match="the folder of the run's own checkpoints"):
        give_folders(trainer(tmp_path, callback))


def test_what_was_saved_later_goes(tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    checkpoint = saved(tmp_path, callback, "a.ckpt", "b.ckpt")
    own = Path(str(callback.dirpath))
    for name in ("c.ckpt", "a-v1.ckpt", ".d.ckpt.partial"):
        (own / name).write_bytes(b"")
    rewind(trainer(tmp_path, callback), checkpoint)
    assert sorted(path.name for path in own.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_nothing_goes_from_a_folder_that_was_typed(tmp_path: Path) -> None:
    callback = ModelCheckpoint(dirpath=tmp_path / "mine")
    checkpoint = saved(tmp_path, callback, "a.ckpt")
    (tmp_path / "mine" / "thesis.ckpt").write_bytes(b"")
    rewind(trainer(tmp_path, callback), checkpoint)
    assert (tmp_path / "mine" / "thesis.ckpt").exists()


def test_a_run_that_was_moved_has_its_paths_there(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "old", ModelCheckpoint(), "a.ckpt")
    callback = ModelCheckpoint()
    run = trainer(tmp_path / "new", callback)
    give_folders(run)
    rewind(run, checkpoint)
    state = checkpoint["callbacks"][callback.state_key]
    callback.load_state_dict(state)
    place = str(Path(str(callback.dirpath), "a.ckpt"))
    assert callback.best_model_path == callback.last_model_path == place
    assert list(callback.best_k_models) == [place]


@pytest.mark.parametrize("path", ["/etc/passwd", "../../x", "..", "/", "a/..", ".", "//x/y", ""])
def test_no_path_of_a_checkpoint_leads_out(path: str, tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    checkpoint = saved(tmp_path, callback, "a.ckpt")
    state = checkpoint["callbacks"][callback.state_key]
    state |= {"best_k_models": {path: torch.tensor(1.0)}, "kth_best_model_path": path}
    state |= {"last_model_path": path, "best_model_path": path, "dirpath": path}
    checkpoint[KEY][callback.state_key]["last"] = path
    rewind(trainer(tmp_path, callback), checkpoint)
    callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
    named = [*callback.best_k_models, callback.last_model_path, callback.kth_best_model_path]
    assert {str(Path(name).parent) for name in named if name} <= {callback.dirpath}
    assert all(Path(name).name not in ("..", ".") for name in named)


@pytest.mark.parametrize(
    "wrong", [{"best_k_models": 1}, {"last_model_path": 1}, {"best_k_models": {1: 2}}]
)
def test_a_state_of_another_form_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    callback = ModelCheckpoint()
    checkpoint = saved(tmp_path, callback, "a.ckpt")
    checkpoint["callbacks"][callback.state_key] |= wrong
    with pytest.raises(InputError, match="its ModelCheckpoint is corrupt"):
        rewind(trainer(tmp_path, callback), checkpoint)
