"""The pictures of a run: that TensorBoard serves each of them, once, and what they cost."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import door
import lightning as L
import numpy as np
import pytest
import torch
import yaml
from door import call, run
from lightning.pytorch.loggers import TensorBoardLogger
from own_code import Colour
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard_server import Ask, as_json, serving, until_there
from torch import nn

from mnist_lab import CNN, MLP, MNISTDataModule, SoftmaxRegression
from mnist_lab.callbacks import Pictures, figures, pictures
from mnist_lab.callbacks.projector import CONFIG, NAME
from mnist_lab.config.callback_schema import Pictures as Schema
from mnist_lab.inference.predictions import Predictions
from mnist_lab.training.fit import train

IMAGES = [
    *(
        f"z_result/test/{name}"
        for name in ("confusion", "mistakes", "samples", "per_class", "reliability")
    ),
    "weights/first_layer",
]
SHORT = (
    "trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=60 "
    "trainer.enable_model_summary=false"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with the default model and pictures."""
    return door.train(SHORT, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def ask(finished: Path) -> Iterator[Ask]:
    with serving(finished.parents[1]) as ask:  # of outputs, as the README has it
        yield ask


@pytest.mark.thorough
def test_tensorboard_serves_every_figure(finished: Path, ask: Ask) -> None:
    name = f"runs/{finished.name}"
    until_there(lambda: sorted(as_json(ask("images/tags"))[name]) == sorted(IMAGES))
    for tag in IMAGES:
        (found,) = as_json(ask("images/images", run=name, tag=tag, sample=0))
        blob = ask(f"images/individualImage?{found['query']}&")
        with Image.open(io.BytesIO(blob)) as image:
            image.load()
        assert min(image.size) >= 200
        assert len(image.getcolors(1_000_000)) > 10  # not blank


def test_tensorboard_serves_curves_and_histograms(finished: Path, ask: Ask) -> None:
    name = f"runs/{finished.name}"
    wanted = [f"pr_curve/class_{one}" for one in range(10)]
    until_there(lambda: sorted(as_json(ask("pr_curves/tags"))[name]) == wanted)
    (curve,) = as_json(ask("pr_curves/pr_curves", run=name, tag="pr_curve/class_3"))[name]
    assert len(curve["precision"]) == len(curve["recall"]) > 50
    assert max(curve["recall"]) == pytest.approx(1)
    tags = as_json(ask("histograms/tags"))[name]
    assert {"weights/net.1.weight", "weights/net.7.bias"} <= set(tags)
    ((_, _, buckets),) = as_json(ask("histograms/histograms", run=name, tag="weights/net.1.weight"))
    assert sum(count for *_, count in buckets) == pytest.approx(784 * 512)


def test_tensorboard_serves_the_projector(finished: Path, ask: Ask) -> None:
    name = f"runs/{finished.name}"
    until_there(lambda: name in as_json(ask("projector/runs")))
    (one,) = as_json(ask("projector/info", run=name))["embeddings"]
    assert one["tensorName"] == NAME
    assert one["tensorShape"] == [1000, 256]
    place: dict[str, Any] = {"run": name, "name": NAME}
    vectors = np.frombuffer(ask("projector/tensor", num_rows=1000, **place), dtype="float32")
    assert vectors.size == 256_000
    assert vectors.std() > 0
    labels = ask("projector/metadata", num_rows=1001, **place).decode().splitlines()
    assert labels[0] == "label\tpred"
    assert [row.partition("\t")[0] for row in labels[1:6]] == ["7", "2", "1", "0", "4"]
    with Image.open(io.BytesIO(ask("projector/sprite_image", **place))) as sprite:
        assert sprite.size == (32 * 28, 32 * 28)


@pytest.mark.thorough
def test_tensorboard_serves_scalars_and_every_runs_hyperparameters(
    finished: Path, ask: Ask
) -> None:
    command = f"train {SHORT} model=softmax ~callbacks.pictures tags=[paper,baseline]"
    done = call(command, finished.parents[2])
    assert done.returncode == 0, done.stderr
    runs = {path.name: path for path in finished.parent.iterdir()}
    assert len(runs) == 2
    until_there(lambda: len(as_json(ask("scalars/tags"))) == 2)
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [],
        "startIndex": 0,
        "sliceSize": 10,
    }

    def groups() -> list[Any]:
        answer = as_json(ask("hparams/session_groups", request=json.dumps(asked)))
        found: list[Any] = answer.get("sessionGroups", [])
        return found if len(found) == 2 else []

    question = json.dumps({"experimentName": "", "includeMetrics": True})
    experiment = as_json(ask("hparams/experiment", request=question))
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert names[:5] == ["data.batch_size", "model", "optimizer.lr", "seed", "tags"]
    shown = [info["displayName"] for info in experiment["metricInfos"]]
    assert shown == ["best/val/acc", "best/val/loss", "test/acc", "test/loss"]
    for group in until_there(groups):
        run_dir = runs[Path(group["name"]).name]
        acc = json.loads((run_dir / "metrics.json").read_text())["test/acc"]
        values = {one["name"]["tag"]: one["value"] for one in group["metricValues"]}
        assert values["z_result/test/acc"] == pytest.approx(acc)
        assert "hp_metric" not in values
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
        assert group["hparams"]["tags"] == " ".join(config["tags"] or ())
        assert group["hparams"]["data.batch_size"] == config["data"]["batch_size"]
        assert group["hparams"]["optimizer.lr"] == config["optimizer"]["lr"]
        name = f"runs/{run_dir.name}"
        ((_, step, value),) = as_json(ask("scalars/scalars", run=name, tag="z_result/test/acc"))
        assert (step, value) == (60, pytest.approx(acc))


def test_killed_after_the_pictures_and_resumed_has_each_once(
    finished: Path, tmp_path: Path
) -> None:
    again = tmp_path / "run"
    shutil.copytree(finished, again)
    (again / "metrics.json").unlink()
    manifest = json.loads((again / "manifest.json").read_text())
    (again / "manifest.json").write_text(json.dumps(manifest | {"state": "running"}))
    done = call(f"resume {again}", tmp_path)
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(again), size_guidance={"images": 0, "tensors": 0}).Reload()
    assert sorted(events.Tags()["images"]) == sorted(IMAGES)
    assert all(len(events.Images(tag)) == 1 for tag in IMAGES)
    assert len(events.Tensors("pr_curve/class_3")) == 1
    for name in (CONFIG, "projector/vectors.tsv", "projector/labels.tsv", "projector/sprite.png"):
        assert (again / name).read_bytes() == (finished / name).read_bytes()
    metrics = [json.loads((one / "metrics.json").read_text()) for one in (again, finished)]
    assert metrics[0]["test/acc"] == metrics[1]["test/acc"]


def test_a_run_with_other_pictures_is_the_same_run(finished: Path) -> None:
    done = call(
        f"train {SHORT} callbacks.pictures.samples=false hydra.run.dir={finished}", finished
    )
    assert done.returncode == 0, done.stderr
    assert "finished already" in done.stdout


def trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=1,
        limit_test_batches=2,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **options,
    )


def tags_of(folder: Path) -> set[str]:
    tags = EventAccumulator(str(folder)).Reload().Tags()
    found = {*tags["images"], *tags["histograms"], *tags["tensors"]}
    return found | ({"projector"} if (folder / CONFIG).exists() else set())


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("model", [CNN(channels=[4], kernel_size=5), SoftmaxRegression()])
def test_other_models_have_them_all(model: L.LightningModule, tmp_path: Path) -> None:
    train(model, MNISTDataModule(), trainer(tmp_path, Pictures()))
    assert {*IMAGES, "projector", "pr_curve/class_0"} <= tags_of(tmp_path)


WITHOUT = {
    "confusion": "z_result/test/confusion",
    "mistakes": "z_result/test/mistakes",
    "samples": "z_result/test/samples",
    "per_class": "z_result/test/per_class",
    "pr_curves": "pr_curve/class_0",
    "reliability": "z_result/test/reliability",
    "filters": "weights/first_layer",
    "histograms": "weights/net.1.weight",
    "projector": "projector",
}


@pytest.mark.parametrize(
    "names",
    [
        list(WITHOUT)[::2],
        list(WITHOUT)[1::2],
        *(pytest.param([name], marks=pytest.mark.slow) for name in WITHOUT),
    ],
)
def test_any_can_be_switched_off(names: list[str], tmp_path: Path) -> None:
    assert {*names} <= Schema.__dataclass_fields__.keys()
    chosen = Pictures(**dict.fromkeys(names, False))
    train(SoftmaxRegression(), MNISTDataModule(), trainer(tmp_path, chosen))
    assert set(WITHOUT.values()) - tags_of(tmp_path) == {WITHOUT[name] for name in names}


def test_metrics_and_random_state_are_as_without(tmp_path: Path) -> None:
    found = []
    for callbacks in ([], [Pictures()]):
        L.seed_everything(0, verbose=False)
        model = MLP([16], dropout=0.5)
        its_trainer = trainer(tmp_path, *callbacks)
        metrics = train(model, MNISTDataModule(), its_trainer)
        kept = {name: one for name, one in metrics.items() if not name.startswith("time/")}
        found.append((kept, torch.get_rng_state(), model.state_dict()["net.1.weight"]))
    (one, state, weight), (other, other_state, other_weight) = found
    assert one == other
    assert torch.equal(state, other_state)
    assert torch.equal(weight, other_weight)


class Strange(SoftmaxRegression):  # type: ignore[misc]
    """A model of one's own whose test returns no logits, and with nothing that meets pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Bilinear(784, 784, 10))
        self.net.forward = lambda x: self.net[1](x.flatten(1), x.flatten(1))

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return super().test_step(batch, batch_idx).mean()


def test_a_model_without_logits_or_layers_of_the_usual_kind_is_tested_as_ever(
    tmp_path: Path,
) -> None:
    metrics = train(Strange(), MNISTDataModule(), trainer(tmp_path, Pictures()))
    assert "test/acc" in metrics
    assert not {*IMAGES, "projector"} & tags_of(tmp_path)


def test_an_image_that_fails_costs_no_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Predictions) -> None:
        raise RuntimeError("no such font")

    monkeypatch.setitem(figures.OF_PREDICTIONS, "samples", broken)
    metrics = train(SoftmaxRegression(), MNISTDataModule(), trainer(tmp_path, Pictures()))
    assert "test/acc" in metrics
    assert "pictures: left out: no such font" in caplog.text


def test_colour_images_are_shown_in_colour_above_what_becomes_of_them(tmp_path: Path) -> None:
    data, model = Colour(augment="affine"), SoftmaxRegression(in_shape=(3, 28, 28))
    train(model, data, trainer(tmp_path, Pictures()))
    (image,) = EventAccumulator(str(tmp_path)).Reload().Images("train/augmented")
    with Image.open(io.BytesIO(image.encoded_image_string)) as drawn:
        pixels = np.asarray(drawn).astype(int)
    assert pixels.shape == (3 * 2 * 60, 10 * 60, 3)
    red, green, blue = pixels[2:58, 2:58].transpose(2, 0, 1)  # within the first frame
    assert blue.max() > 200
    assert np.abs(2 * green - blue).max() <= 1
    assert np.abs(4 * red - blue).max() <= 3


def test_images_of_another_shape_are_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mnist_lab")
    train(SoftmaxRegression(in_shape=(3, 28, 28)), Colour(), trainer(tmp_path, Pictures()))
    lines = [line for line in caplog.messages if line.startswith("pictures")]
    assert lines == ["pictures: no images of predictions: drawn of (1, 28, 28), not of (3, 28, 28)"]
    assert not {*IMAGES} & tags_of(tmp_path)


def test_training_images_that_cannot_be_drawn_cost_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("of a strange shape")

    monkeypatch.setattr(pictures, "_pairs", broken)
    data = MNISTDataModule(augment="affine")
    metrics = train(SoftmaxRegression(), data, trainer(tmp_path, Pictures()))
    assert "test/acc" in metrics
    assert "pictures: left out: of a strange shape" in caplog.text


@pytest.mark.filterwarnings("ignore:Encountered `nan` values")  # torchmetrics' of the loss
def test_a_model_that_diverged_has_images(tmp_path: Path) -> None:
    model = SoftmaxRegression()
    with torch.no_grad():
        model.net[1].weight.fill_(torch.nan)
    trainer(tmp_path, Pictures()).test(model, datamodule=MNISTDataModule(), verbose=False)
    assert set(IMAGES) <= tags_of(tmp_path)


@pytest.mark.slow
def test_two_ranks_show_what_one_shows(tmp_path: Path) -> None:
    found = []
    for name in ("cpu", "ddp_cpu"):
        command = (
            f"train trainer={name} model=softmax trainer.max_epochs=1 "
            f"trainer.limit_train_batches=5 hydra.run.dir={name}"
        )
        done = run(command, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "pictures" not in done.stderr + done.stdout
        events = EventAccumulator(str(tmp_path / name), size_guidance={"images": 0}).Reload()
        with Image.open(
            io.BytesIO(events.Images("z_result/test/samples")[0].encoded_image_string)
        ) as picture:
            found.append(np.asarray(picture).astype(float))
        projected = tmp_path / name / "projector"
        found.append((projected / "sprite.png").read_bytes())
        found.append((projected / "vectors.tsv").read_bytes())
    samples, *files = found[:3]
    other_samples, *other_files = found[3:]
    assert files == other_files
    # Probabilities may differ in their last shown digit, as the weights do by rounding.
    assert np.mean(samples != other_samples) < 0.01
