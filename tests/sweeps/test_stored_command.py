"""What a sweep's own file may say of the command that resumes it, and what has to be typed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from sweeping import TYPED_AGAIN

from mnist_lab.errors import InputError, UntrustedError
from mnist_lab.runs.directory import SWEEP
from mnist_lab.sweeps.plan import Plan, write_plan
from mnist_lab.sweeps.stored_command import resuming_arguments

PLAN = Plan({}, {}, {}, overrides=["model=mlp", "lr=interval(0,1)"])


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    write_plan(folder, replace(PLAN, **changes).content())
    return folder


def test_the_command_that_resumes(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] sweep"
    with pytest.raises(InputError, match=r"is .* a sweep's directory\?"):
        resuming_arguments(folder, [], [])
    dropped = ["allow_targets=[os.]", "hydra.sweep.dir=old", "+hydra.sweeper.retry_failed=true"]
    written(folder, overrides=[*PLAN.overrides, *dropped])
    *arguments, place = resuming_arguments(folder, ["seed=1"], ["mine", "more"])
    folders = ["--config-dir", "mine", "--config-dir", "more"]
    assert arguments == ["-m", *folders, "model=mlp", "lr=interval(0,1)", "seed=1"]
    parsed = OverridesParser.create().parse_override(place)
    assert (parsed.key_or_group, parsed.value()) == ("hydra.sweep.dir", str(folder))
    (folder / SWEEP).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        resuming_arguments(folder, [], [])


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("lr=interval(0,2)", ["hydra/launcher=ray", "hydra.launcher.num_cpus=2"]),
        ("hydra/launcher=fused", ["lr=interval(0,1)"]),
        ("hydra.launcher.num_cpus=3", ["lr=interval(0,1)", "hydra/launcher=ray"]),
        ("lrs=1", ["lr=interval(0,1)", "hydra/launcher=ray", "hydra.launcher.num_cpus=2"]),
    ],
)
def test_a_typed_value_takes_the_place_of_the_files(
    typed: str, left: list[str], tmp_path: Path
) -> None:
    stored = ["lr=interval(0,1)", "hydra/launcher=ray", "hydra.launcher.num_cpus=2"]
    written(tmp_path, overrides=stored)
    assert resuming_arguments(tmp_path, [typed], [])[1:-1] == [*left, typed]


@pytest.mark.parametrize(
    "text",
    [
        "hydra/sweeper=study",
        "hydra/launcher=slurm",
        "hydra.launcher.per_job=4",
        "hydra.sweep.subdir=${hydra.job.num}",
        "hydra.sweeper.params={seed: 'range(3)', model: 'mlp,cnn'}",
        "hydra.sweeper.sampler_options.n_startup_trials=4",
        "hydra.sweeper.objectives={num_params: min}",
        "trainer.max_epochs=3",
        "seed=1,2",
        "+callbacks.x._target_=lightning.pytorch.callbacks.Timer",
        "~callbacks.pictures",
        "data.seed=${seed}",
    ],
)
def test_what_may_be_stored(text: str, tmp_path: Path) -> None:
    assert resuming_arguments(written(tmp_path, overrides=[text]), [], [])[1:-1] == [text]


@pytest.mark.parametrize("text", TYPED_AGAIN)
def test_what_is_typed_again(text: str, tmp_path: Path) -> None:
    written(tmp_path, overrides=["seed=1,2", text])
    with pytest.raises(UntrustedError) as caught:
        resuming_arguments(tmp_path, [], [])
    assert str(caught.value) == (
        f"{tmp_path / SWEEP}: {text}: taken from the command line only; type what is yours of it "
        f"again, after mnist-lab resume {tmp_path}"
    )
    if "=" in text and "/" not in text.partition("=")[0] and "{" not in text:
        assert resuming_arguments(tmp_path, [text], [])[1:-1] == ["seed=1,2", text]


def test_a_conf_folder_is_typed_again(tmp_path: Path) -> None:
    written(tmp_path, config_dir="mine", overrides=["hydra.sweeper.storage=x"])
    with pytest.raises(
        UntrustedError, match=r"--config-dir mine; hydra\.sweeper\.storage=x: taken"
    ):
        resuming_arguments(tmp_path, [], [])


@pytest.mark.parametrize("overrides", [["--config-dir=x"], [5], [None], ["-m"]])
def test_what_is_no_override(overrides: list[Any], tmp_path: Path) -> None:
    content = PLAN.content() | {"overrides": overrides}
    (tmp_path / SWEEP).write_text(json.dumps(content))
    with pytest.raises(InputError, match="overrides: must be of the form key=value"):
        resuming_arguments(tmp_path, [], [])
