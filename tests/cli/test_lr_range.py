"""``sweep=lr_range`` by the shipped command: a CSV, a PNG, the config and a suggestion."""

import csv
import re
import resource
from pathlib import Path

import pytest
from door import call, run
from omegaconf import OmegaConf
from PIL import Image


def table(folder: Path) -> list[dict[str, float]]:
    with (folder / "lr_range.csv").open() as file:
        return [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]


def test_an_mlp_is_trained_in_stacks(tmp_path: Path) -> None:
    done = call(
        "train model=mlp model.hidden_dims=[16] model.dropout=0.1 trainer=cpu seed=3 "
        "sweep=lr_range hydra.sweeper.rates=7 hydra.sweeper.seeds=2 hydra.sweeper.max_stack=4 "
        "hydra.sweep.dir=s",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "s"
    assert {path.name for path in folder.iterdir()} - {".lock"} == {
        *("config.yaml", "lr_range.csv", "lr_range.png")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    rows = table(folder)
    assert [row["seed"] for row in rows] == [3.0] * 7 + [4.0] * 7
    assert [row["optimizer.lr"] for row in rows[:7]] == pytest.approx(
        [10.0**power for power in range(-5, 2)]
    )
    means = [(a["train/loss"] + b["train/loss"]) / 2 for a, b in zip(rows, rows[7:], strict=False)]
    best = means.index(min(means))
    assert 1e-3 <= rows[best]["optimizer.lr"] <= 1e-1
    assert means[0] > 2.0 > 1.0 > means[best]
    assert f"lowest: {means[best]:.4f} at {rows[best]['optimizer.lr']:.2g}" in done.stdout
    suggested = re.search(r"suggestion: optimizer.lr=(\S+),", done.stdout)
    assert suggested is not None
    assert 1e-4 < float(suggested[1]) <= rows[best]["optimizer.lr"] * 1.01
    with Image.open(folder / "lr_range.png") as image:
        assert image.size == (720, 420)
    assert OmegaConf.load(folder / "config.yaml").model.hidden_dims == [16]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("model=module model.net._target_=own_code.Net", ""),
        ("model=cnn", "3 trainings run one by one: CNN is not stacked on a CPU, as one by one is"),
    ],
)
def test_other_models_than_the_labs_mlps(
    model: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "own_code.")
    done = call(
        f"train {model} trainer=cpu sweep=lr_range "
        "hydra.sweeper.rates=3 hydra.sweeper.seeds=1 hydra.sweeper.steps=10 hydra.sweep.dir=s",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert ("one by one" in done.stdout) == bool(said)
    low, middle, _ = (row["train/loss"] for row in table(tmp_path / "s"))
    assert middle < low


@pytest.mark.slow
def test_64_rates_and_3_seeds_take_at_most_25_seconds_on_2_cores(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("train experiment=tf_mlp_65_65 sweep=lr_range hydra.sweep.dir=s", tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert len(table(tmp_path / "s")) == 192
    # Of the processor: on 2 cores a command takes no longer than that, whatever else runs.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 25
