"""Configs and other texts of ill will, through the shipped command: nothing in them is run."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import hostile_checkpoints as made
import pytest
import yaml
from door import main
from refusals import assert_refused, finish, of_this_hydra

from mnist_lab.config.compose import Loader
from mnist_lab.errors import ConfigError, UntrustedError
from mnist_lab.runs.directory import CONFIG, LAST, MANIFEST, METRICS

ROWS = yaml.safe_load((Path(__file__).parent / "hostile_configs.yaml").read_text(encoding="utf-8"))
PLAN: dict[str, Any] = {
    **{part: {} for part in ("space", "search", "config", "code", "versions", "study")},
    "overrides": ["seed=1,2"],
    "config_dir": None,
    "home": "here",
}


def expanded(text: str) -> str:
    """Return a text with what is to be repeated, written as @(x * 3), repeated."""
    return re.sub(r"@\((.+?) \* (\d+)\)", lambda found: found[1] * int(found[2]), text)


def laughs(depth: int) -> str:
    """Return a thousand million million laughs."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, depth)]
    return "\n".join(lines)


def text_of(row: dict[str, Any]) -> str:
    if "laughs" in row:
        return laughs(row["laughs"])
    return expanded(row.get("whole", row.get("text", "")))


def rows(place: str) -> list[Any]:
    return [
        pytest.param(of_this_hydra(row), id=str(row.get("whole", row.get("text", "laughs")))[:60])
        for row in ROWS
        if row["in"] == place
    ]


def with_config(run_dir: Path, row: dict[str, Any]) -> None:
    """Put a row's text into a run's config, in the place of the keys that it has."""
    text = text_of(row)
    if "whole" not in row:
        good = yaml.safe_load((run_dir / CONFIG).read_text())
        keys = re.findall(r"^(\w+):", text, re.MULTILINE)
        kept = {key: value for key, value in good.items() if key not in keys}
        text = f"{yaml.safe_dump(kept)}{text}\n"
    (run_dir / CONFIG).write_text(text)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("row", rows("run"))
def test_a_runs_config(
    row: dict[str, Any], run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with_config(run_dir, row)
    for verb in row.get("verbs", ["resume", "evaluate", "verify"]):
        if verb == "verify":
            finish(run_dir)
        line = assert_refused([verb, str(run_dir)], (row["code"],), capfd)
        assert [word for word in row["words"] if word not in line] == [], line
    assert not (run_dir / "train.log").exists()


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("row", rows("own"))
def test_a_folder_of_ones_own(
    row: dict[str, Any], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "own" / "experiment" / "x.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{text_of(row)}\n")
    if "bytes" in row:
        path.write_bytes(bytes.fromhex(row["bytes"]))
    arguments = ["train", "--config-dir", "own", "experiment=x"]
    line = assert_refused(arguments, (row["code"],), capfd)
    assert [word for word in row["words"] if word not in line] == [], line
    assert not (folder / "outputs").exists()


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("row", rows("line"))
def test_a_command_line(
    row: dict[str, Any], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = shlex.split(expanded(row["text"]))
    line = assert_refused(arguments, (row["code"],), capfd)
    assert [word for word in row["words"] if word not in line] == [], line
    assert {path.name for path in folder.iterdir()} == {"boobytrapped.py"}


def test_what_a_file_says_was_typed_opens_nothing() -> None:
    """A sweep's file has the command that started it."""
    for text in ("allow_targets=[os.]", "+allow_targets=[os.]", "++allow_targets=[os.]"):
        with pytest.raises((ConfigError, UntrustedError), match="allow_targets"):
            Loader([text], typed=[]).compose([text])
    with pytest.raises(UntrustedError, match=r"logger\.tensorboard\.save_dir=/tmp: not in the run"):
        Loader([], typed=[]).compose(["logger.tensorboard.save_dir=/tmp"])
    allowed = ["allow_targets=[os.]"]
    assert Loader(["seed=1"], typed=allowed).compose(["seed=1", *allowed]).seed == 1


# --- where a run that came from elsewhere would write


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("name", ["train.log", ".lock", MANIFEST, LAST, "checkpoints"])
def test_a_link_out_of_a_run_is_not_followed(
    name: str | Path, run_dir: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log line in a shell's start-up file would be a command."""
    precious = folder / "precious"
    if name == "train.log":  # a run without a line to log has none
        (run_dir / name).touch()
    shutil.move(run_dir / name, precious)
    (run_dir / name).symlink_to(precious)
    before = precious.stat()
    line = assert_refused(["resume", str(run_dir)], (4,), capfd)
    assert f"{run_dir / name}: a link out of the directory" in line
    assert (precious.stat().st_mtime_ns, precious.stat().st_size) == (
        before.st_mtime_ns,
        before.st_size,
    )


def test_a_run_may_itself_be_a_link(run_dir: Path, folder: Path) -> None:
    (folder / "link").symlink_to(run_dir)
    assert main(["resume", "link"]) == 0


def test_verifying_a_run_leaves_what_it_has_elsewhere_alone(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    arguments = [
        *made.START,
        *("trainer.limit_train_batches=6", f"logger.csv.save_dir={elsewhere}"),
        "+callbacks.mine._target_=lightning.pytorch.callbacks.ModelCheckpoint",
        f"+callbacks.mine.dirpath={elsewhere}",
        "hydra.run.dir=run",
    ]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in elsewhere.iterdir()}
    assert {path.suffix or path.name for path in before} == {".csv", ".ckpt", ".mnist_lab_run"}
    assert main(["verify", "run"]) == 0
    assert {path: path.read_bytes() for path in elsewhere.iterdir()} == before


# --- a run's other files

ENDLESS = "[" * 100_000
MANIFESTS: dict[str, Any] = {
    "empty": "",
    "text": "hello",
    "a list": "[]",
    "nested": ENDLESS,
    "attempts are a number": {"attempts": 5},
    "attempts are numbers": {"attempts": [1]},
    "hashes are a number": {"sha256": 5},
    "hashes are missing": {"sha256": None},
    "versions are text": {"versions": "x"},
    "data are a number": {"data": 7},
}
RESULTS: dict[str, Any] = {
    "empty": "",
    "nested": ENDLESS,
    "nothing": {},
    "text for a number": {"val/acc": "high"},
    "nothing for a number": {"val/acc": None},
}


def assert_3(arguments: list[str], path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Assert that a command ends with one line about a file that cannot be used."""
    assert main(arguments) == 3
    err = capfd.readouterr().err
    assert re.fullmatch(rf"mnist-lab \w+: {re.escape(str(path))}: .*\n", err), err


@pytest.fixture(scope="module")
def finished(unfinished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the run when it has gone on to its end. No test writes there."""
    run_dir = Path(shutil.copytree(unfinished, tmp_path_factory.mktemp("finished") / "run"))
    assert main(["resume", str(run_dir)]) == 0
    return run_dir


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_runs_manifest(
    name: str, unfinished: Path, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for verb, start in (("resume", unfinished), ("train", unfinished), ("verify", finished)):
        run_dir = Path(shutil.copytree(start, tmp_path / verb))
        path, change = run_dir / MANIFEST, MANIFESTS[name]
        if isinstance(change, dict):
            change = json.dumps(json.loads(path.read_text()) | change)
        path.write_text(change)
        arguments = [*made.START, f"hydra.run.dir={run_dir}"] if verb == "train" else None
        if verb != "verify" and name == "hashes are missing":
            continue  # a run that is not finished has none
        assert_3(arguments or [verb, str(run_dir)], path, capfd)


@pytest.mark.thorough
@pytest.mark.parametrize("name", RESULTS)
def test_a_runs_metrics(
    name: str, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(finished, tmp_path / "run"))
    change = RESULTS[name]
    (run_dir / METRICS).write_text(change if isinstance(change, str) else json.dumps(change))
    for verb in ("resume", "verify"):
        assert_3([verb, str(run_dir)], run_dir / METRICS, capfd)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("text", [laughs(5), "seed: !!python/name:os.system", "seed: ${seed}"])
def test_a_runs_config_where_its_command_is_given_again(
    text: str, run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with_config(run_dir, {"text": text})
    arguments = [*made.START, f"hydra.run.dir={run_dir}"]
    assert str(run_dir / CONFIG) in assert_refused(arguments, (4,), capfd)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(
    ("overrides", "code", "word"),
    [
        (
            ["++allow_targets=[builtins.]", "+callbacks.x._target_=builtins.open"],
            4,
            "allow_targets",
        ),
        (["'allow_targets'=[builtins.]"], 2, "allow_targets"),
        (["+callbacks.x._target_=builtins.open"], 4, "builtins.open"),
        (["+hydra.job.env_set.PATH=."], 4, "hydra.job.env_set.PATH"),
        (["logger.tensorboard.save_dir=/tmp"], 4, "save_dir=/tmp"),
        (["logger.tensorboard.save_dir='/tmp'"], 4, "/tmp"),
        (["logger.tensorboard.save_dir=a/../../b"], 4, "../b"),
        (["logger.tensorboard.save_dir=."], 4, "save_dir"),  # the current folder
        (["logger.tensorboard.save_dir=./x"], 4, "save_dir"),
        (["logger.tensorboard.save_dir=''"], 4, "save_dir"),
        (["+callbacks.checkpoint.dirpath=x"], 4, "dirpath"),
        (["+logger.x={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: /tmp}"], 4, "/tmp"),
        (["--config-dir=."], 3, "sweep.json"),
        ([5], 3, "sweep.json"),
        (["hydra.sweeper.storage=canary", "hydra.sweeper.study_name=x"], 4, "storage=canary; "),
        (5, 3, "overrides: must be a list"),
    ],
)
def test_a_sweeps_file(
    overrides: Any, code: int, word: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "sweep").mkdir()
    if isinstance(overrides, list):
        overrides = ["seed=1,2", *overrides, "hydra.sweeper.accept_changes=true"]
    (folder / "sweep" / "sweep.json").write_text(json.dumps(PLAN | {"overrides": overrides}))
    assert word in assert_refused(["resume", "sweep"], (code,), capfd)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("name", PLAN)
@pytest.mark.parametrize("command", ["resume sweep", "train -m seed=1,2 hydra.sweep.dir=sweep"])
def test_a_sweeps_file_that_lacks_something(
    command: str, name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "sweep").mkdir()
    plan = {key: value for key, value in PLAN.items() if key != name}
    (folder / "sweep" / "sweep.json").write_text(json.dumps(plan))
    assert f"sweep.json: {name}: must be" in assert_refused(command.split(), (3,), capfd)
