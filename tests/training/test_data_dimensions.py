from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from composing import compose
from door import FEW_BATCHES, call
from omegaconf import OmegaConf
from own_code import Images

from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import ConfigError
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.runs.directory import LAST
from mnist_lab.training.data_dimensions import follow_data


@pytest.mark.parametrize("model", ["softmax", "mlp", "cnn"])
@pytest.mark.parametrize(
    ("says", "num_classes", "expected"),
    [(True, None, 4), (True, 7, 7), (False, None, None), (False, 5, 5)],
)
def test_takes_what_is_not_set_from_the_data(
    model: str, says: bool, num_classes: int | None, expected: int | None
) -> None:
    config = compose(f"model={model}")
    config.model.num_classes = num_classes
    state = torch.get_rng_state()
    followed = follow_data(config, Images(says=says)).model
    assert (followed.num_classes, followed.in_shape) == (expected, [3, 20, 24])
    assert torch.equal(torch.get_rng_state(), state)
    assert config.model.in_shape is None


def test_leaves_the_default_alone() -> None:
    config = compose()
    assert config.model.num_classes == 10
    assert follow_data(config, MNISTDataModule()) is config


@pytest.mark.parametrize("shape", [(), (28, 28)])
def test_batches_without_images(shape: Sequence[int]) -> None:
    with pytest.raises(ConfigError, match=r"its batches must begin with images \(B, C, H, W\)"):
        follow_data(compose(), Images(shape=tuple(shape)))


@pytest.mark.thorough
def test_a_run_on_data_of_another_size(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "data"
    folder.mkdir(parents=True)
    (folder / "images.yaml").write_text("_target_: own_code.Images\n")
    opened = "allow_targets=[own_code]"
    own = f"{FEW_BATCHES} --config-dir mine data=images {opened} ~callbacks.pictures"
    net = "model=module model.net._target_=own_code.AnySize"
    done = call(f"train {own} {net} hydra.run.dir=run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").model.in_shape == [3, 20, 24]
    settings = read_checkpoint(tmp_path / "run" / LAST)["hyper_parameters"]
    assert (settings["num_classes"], list(settings["in_shape"])) == (6, [3, 20, 24])
    for verb in ("evaluate run", "resume run", "verify run", "export run --format torch"):
        done = call(f"{verb} {opened}", tmp_path)
        assert done.returncode == 0, done.stderr
    done = call(f"train {own} {net} hydra.run.dir=run", tmp_path)  # the run again, which is done
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ("model.num_classes=3", "model.num_classes=3: data.labels go from 0 to 3; must be from 0"),
        (
            "'model.in_shape=[3,20,20]'",
            "model.in_shape=[3, 20, 20]: the data's images are [3, 20, 24]",
        ),
        ("'model.in_shape=[3,20]'", "model.in_shape=[3, 20]: must be"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, settings: str, line: str) -> None:
    folder = tmp_path / "mine" / "data"
    folder.mkdir(parents=True)
    (folder / "images.yaml").write_text("_target_: own_code.Images\n")
    done = call(
        f"train {FEW_BATCHES} --config-dir mine data=images allow_targets=[own_code] model=mlp "
        f"{settings} hydra.run.dir=run",
        tmp_path,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert line in done.stderr
    assert not (tmp_path / "run").exists()
