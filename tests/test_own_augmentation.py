"""Augmentation by a list, with a module of one's own in it, through the shipped commands."""

import json
from pathlib import Path

import pytest
from door import call
from killed import killed_at
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TRAIN = (
    "train model=mlp model.hidden_dims=[16] model.dropout=0.2 trainer=cpu trainer.max_epochs=2 "
    "trainer.limit_train_batches=8 trainer.limit_val_batches=1 trainer.limit_test_batches=1 "
    "trainer.enable_model_summary=false callbacks.checkpoint.every_n_steps=3 data.batch_size=32 "
    "data.augment=[affine,{name:cutout,size:6},"
    "{_target_:torchvision.transforms.v2.RandomRotation,degrees:9},"
    "{_target_:own_code.Invert,share:0.3},{name:mixup,alpha:0.4}]"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has ``whole``, and ``killed``, which stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("augmented")
    opened = "allow_targets=[own_code.]"
    done = call(f"{TRAIN} {opened} hydra.run.dir=whole", folder)
    assert (done.returncode, done.stderr) == (0, "")
    killed_at(13, f"{TRAIN} {opened} hydra.run.dir=killed", folder)
    return folder


@pytest.mark.thorough
def test_a_directory_opens_no_module(folder: Path) -> None:
    done = call("resume killed", folder)
    assert done.returncode == 4
    assert "data.augment.3._target_=own_code.Invert: not a target that" in done.stderr


def test_resumes_exactly_and_shows_the_images_once(folder: Path) -> None:
    done = call("resume killed allow_targets=[own_code.]", folder)
    assert done.returncode == 0, done.stderr
    assert "resumes from step 11" in done.stdout
    hashes = []
    for name in ("whole", "killed"):
        hashes.append(json.loads((folder / name / "manifest.json").read_text())["sha256"])
        events = EventAccumulator(str(folder / name), size_guidance={"images": 0})
        events.Reload()
        (image,) = events.Images("train/augmented")
        assert (image.step, image.width, image.height) == (0, 600, 360)
    assert hashes[0] == hashes[1]


def test_evaluates_without_the_module(folder: Path) -> None:
    done = call("evaluate whole allow_targets=[own_code.]", folder)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("augment", "line"),
    [
        ("[affin]", "must be one of affine, elastic, random_crop, cutout, mixup, or a list of th"),
        ("[{_target_:os.system,command:x}]", "data.augment.0._target_=os.system: not a target"),
        ("[{_target_:torch.optim.Adam}]", "must be a subclass of Module"),
        # Hydra 1.4.0rc3 writes the key as data.augment0.
        (
            "[{_target_:torchvision.transforms.v2.RandomRotation,deg:3}]",
            "0: RandomRotation.__init__",
        ),
        ("[{name:cutout,size:0}]", "data.augment.0.size=0: must be from 1 to 28"),
    ],
)
def test_a_wrong_list_is_one_line(augment: str, line: str, tmp_path: Path) -> None:
    done = call(f"train model=softmax data.augment={augment} hydra.run.dir=run", tmp_path)
    assert done.returncode in (2, 4)
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
