"""Names of trials' folders, and overrides that hold interpolations, in every kind of sweep."""

import json
from pathlib import Path

import pytest
from door import main
from sweeping import SOFTMAX, records

pytestmark = pytest.mark.usefixtures("mnist_files", "elsewhere")

FAST = [*SOFTMAX, "trainer.fast_dev_run=true", "hydra.sweep.dir=s"]
SEEDS = "seed=1,2"
TPE = ["optimizer.lr=interval(1e-3,1e-2)", "hydra.sweeper.n_trials=2"]
SAMPLERS = {
    "grid": [SEEDS],
    "random": [*TPE, "hydra.sweeper.sampler=random"],
    "tpe": TPE,
    "basic sweeper": [SEEDS, "hydra/sweeper=basic"],
    "fused": [SEEDS, "trainer.fast_dev_run=false", "hydra/launcher=fused"],
}
SHORT = "hydra.job.config.override_dirname.exclude_keys=[trainer.fast_dev_run,hydra.sweep.dir]"
NAMES = {
    "trial_${hydra.job.num}": ["trial_0", "trial_1"],
    "${hydra:job.num}": ["0", "1"],
    "deep/er/${hydra:job.num}_x": ["deep/er/0_x", "deep/er/1_x"],
    "${hydra.job.override_dirname}": None,
    "a/${hydra:job.override_dirname}": None,
    "a b/it's_${hydra.job.id}": ["a b/it's_0", "a b/it's_1"],
    "${hydra.job.num}_${optimizer.lr}_${seed}": None,
    "${hydra.job.num}_${now:%Y}": None,
}


def folders() -> set[str]:
    return {str(path.parent.relative_to("s")) for path in Path("s").rglob("manifest.json")}


ROWS = [
    pytest.param(name, sampler, marks=[] if not place else [pytest.mark.slow])
    for place, name in enumerate(list(NAMES)[:4])
    for sampler in SAMPLERS
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "sampler"), ROWS)
def test_samplers(name: str, sampler: str) -> None:
    subdir = "hydra.sweep.subdir=" + name.replace("'", "\\'")
    command = ["train", "-m", *FAST, *SAMPLERS[sampler], subdir]
    assert main(command) == 0
    made = folders()
    assert len(made) == 2
    assert NAMES[name] is None or sorted(made) == NAMES[name]
    if sampler == "basic sweeper":
        return
    before = [record.directory for record in records()]
    assert set(before) == made
    Path("s").rename("moved")
    assert main(["resume", "moved"]) == 0
    Path("moved").rename("s")
    assert ([record.directory for record in records()], folders()) == (before, made)


@pytest.mark.thorough
@pytest.mark.parametrize("name", list(NAMES)[4:])
def test_names(name: str) -> None:
    quoted = name.replace("'", "\\'")
    command = ["train", "-m", *FAST, SEEDS, f"hydra.sweep.subdir='{quoted}'", SHORT]
    assert main(command) == 0
    made = folders()
    assert len(made) == 2
    assert NAMES[name] is None or sorted(made) == NAMES[name]
    assert main(["resume", "s"]) == 0
    assert folders() == made


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    "name",
    [
        *("same", "${monitor}", "../${hydra.job.num}", "/tmp/canary_${hydra.job.num}"),
        *("${hydra:runtime.cwd}/${hydra.job.num}", "x/../../${hydra.job.num}"),
        "${hydra.job.nun}",
    ],
)
def test_what_is_no_folder_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for sweeper in ([], ["hydra/sweeper=basic"]):
        assert main(["train", "-m", *FAST, SEEDS, f"hydra.sweep.subdir='{name}'", *sweeper]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1, err
        assert "hydra.sweep.subdir" in err or "hydra.job.nun" in err
        assert not Path("s").exists()


def test_interpolations_follow_the_trial() -> None:
    command = ["train", "-m", *FAST, SEEDS, "data.seed=${seed}", "data.split_seed=${seed}"]
    assert main(command) == 0
    for record in records():
        config = Path("s", str(record.directory), "config.yaml").read_text()
        assert config.count(f"seed: {record.params['seed']}") == 3
    assert "data.seed=${seed}" in json.loads(Path("s/sweep.json").read_text())["overrides"]
