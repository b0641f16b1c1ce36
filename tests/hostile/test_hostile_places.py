"""Directories that somebody else has made, which would write, delete or read outside themselves."""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hostile_checkpoints as made
import pytest
import torch
import yaml
from door import main
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from refusals import finish

from mnist_lab.runs.directory import CONFIG, LAST, MANIFEST, PREVIOUS

ROWS = yaml.safe_load((Path(__file__).parent / "crafted_configs.yaml").read_text(encoding="utf-8"))
CLASSES = {
    "csv_logger": ("logger", "lightning.pytorch.loggers.CSVLogger", {"save_dir": "."}),
    "tensorboard": ("logger", "lightning.pytorch.loggers.TensorBoardLogger", {"save_dir": "."}),
    "model_checkpoint": ("callbacks", "lightning.pytorch.callbacks.ModelCheckpoint", {}),
}
PRECIOUS = {
    "metrics.csv": "step,val/acc\n0,1.0\n",
    ".metrics.csv.kept": "step,val/acc\n0,1.0\n",
    "events.out.tfevents.1.here": "events",
    "hparams.yaml": "mine: 1\n",
    "x.ckpt": "weights",
    "best.ckpt": "weights",
    ".last.ckpt.partial": "mine",
    "secret.yaml": "password: hunter2\n",
    "sub/metrics.csv": "step\n1\n",
}
pytestmark = pytest.mark.usefixtures("victim")
VERBS = ("resume", "verify", "evaluate", "predict", "serve", "export", "report")


def listing(root: Path, without: str) -> dict[str, Any]:
    """Return all that can be seen of the files below a folder, but for a folder in it."""
    files: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] == without:
            continue
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        if path.is_symlink():
            content = os.readlink(path)
        files[name] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return files


@pytest.fixture
def victim(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder beside the run, of which nothing is changed, nor of any other beside it."""
    root = folder / "victim"
    for name, text in PRECIOUS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (folder / "home").mkdir()
    monkeypatch.setenv("VICTIM", str(root))
    monkeypatch.setenv("HOME", str(folder / "home"))
    before = listing(folder, "run")
    yield root
    assert listing(folder, "run") == before


def arguments(verb: str, run_dir: Path) -> list[str]:
    return {
        "predict": ["predict", str(run_dir), "nothing.png"],
        "serve": ["serve", "--port=0", str(run_dir)],
        "export": ["export", "--format=torch", "--overwrite", str(run_dir)],
    }.get(verb, [verb, str(run_dir)])


def refused(words: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> str:
    """Assert that a command ends with one line, and return that."""
    got = main(words)
    out, err = capfd.readouterr()
    assert (got, len(err.splitlines())) == (code, 1), err + out
    assert "hunter2" not in err
    assert err.startswith(f"mnist-lab {words[0]}: ")
    return err


# --- configs


def crafted_configs() -> Iterator[Any]:
    for kind, rows in ROWS.items():
        for row in rows:
            config = row
            if kind in CLASSES:
                group, target, needed = CLASSES[kind]
                config = {group: {"x": {"_target_": target, **needed, **row}}}
            elif kind == "trainer":
                config = {"trainer": {"_target_": "lightning.Trainer", **row}}
            name = f"{kind}: {json.dumps(row, ensure_ascii=True)}"
            yield pytest.param(config, kind != "resumed", id=name[:80])


def replaced(node: Any, victim: Path) -> Any:
    """Return a config with the victim's path where it says so, but for variables of the name."""
    return json.loads(re.sub(r"(?<![{:$%])VICTIM", str(victim), json.dumps(node)))


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("change", "is_verified"), list(crafted_configs()))
def test_a_config(
    change: Any, is_verified: bool, run_dir: Path, victim: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((run_dir / CONFIG).read_text()) | replaced(change, victim)
    (run_dir / CONFIG).write_text(yaml.safe_dump(config, allow_unicode=True))
    before = listing(run_dir, "-")
    refused(["resume", str(run_dir)], 4, capfd)
    assert listing(run_dir, "-") == before
    if is_verified:
        finish(run_dir)
        before = listing(run_dir, "-")
        refused(["verify", str(run_dir)], 4, capfd)
        assert listing(run_dir, "-") == before


def test_names_below_the_run_are_its_own(run_dir: Path) -> None:
    config = yaml.safe_load((run_dir / CONFIG).read_text())
    config["logger"]["csv"] |= {"save_dir": "./logs", "name": "my logs, é", "version": 3}
    config["callbacks"]["mine"] = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": "./checkpoints/mine",
        "filename": "{epoch:02d}-{val/acc:.4f}",
        "monitor": "val/acc",
    }
    (run_dir / CONFIG).write_text(yaml.safe_dump(config, allow_unicode=True))
    for name in (LAST, PREVIOUS):
        (run_dir / name).unlink()
    assert main(["resume", str(run_dir)]) == 0
    assert (run_dir / "logs" / "my logs, é" / "version_3" / "metrics.csv").exists()
    (saved,) = (run_dir / "checkpoints" / "mine").rglob("*.ckpt")
    assert saved.parent.name.startswith("epoch=00-val")


# --- links


def link(target: str) -> Callable[[Path, Path], None]:
    """Return what puts a link in a path's place; V is the victim's folder."""

    def put(path: Path, victim: Path) -> None:
        path.symlink_to(target.replace("V", str(victim), 1) if target.startswith("V") else target)

    return put


def chain(path: Path, victim: Path) -> None:
    """Put a link there to one that looks as if it stayed within."""
    inner = path.with_name("inner")
    inner.symlink_to(victim)
    path.symlink_to("inner")


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


LINKS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "checkpoints": ("checkpoints", link("V")),
    "checkpoints, relative": ("checkpoints", link("../victim")),
    "checkpoints by another": ("checkpoints", chain),
    "last": (str(LAST), link("V/x.ckpt")),
    "last, relative": (str(LAST), link("../../victim/x.ckpt")),
    "last, to nothing": (str(LAST), link("V/not_there")),
    "best": ("checkpoints/best.ckpt", link("V/x.ckpt")),
    "previous": (str(PREVIOUS), link("V/x.ckpt")),
    "partial": ("checkpoints/.last.ckpt.partial", link("V/x.ckpt")),
    "partial of the manifest": (".manifest.json.partial", link("V/secret.yaml")),
    "partial of the metrics": (".metrics.json.partial", link("V/not_there")),
    "partial of an export": (".model.pt2.partial", link("V/secret.yaml")),
    "an export": ("model.pt2", link("V/secret.yaml")),
    "config": (CONFIG, link("V/secret.yaml")),
    "config, relative": (CONFIG, link("../victim/secret.yaml")),
    "manifest": (MANIFEST, link("V/secret.yaml")),
    "metrics": ("metrics.json", link("V/secret.yaml")),
    "csv": ("metrics.csv", link("V/metrics.csv")),
    "kept csv": (".metrics.csv.kept", link("V/.metrics.csv.kept")),
    "events": ("events.out.tfevents.1.here", link("V/events.out.tfevents.1.here")),
    "log": ("train.log", link("V/not_there")),
    "log to itself": ("train.log", link("train.log")),
    "lock": (".lock", link("V/secret.yaml")),
    "projector": ("projector", link("V")),
    "logs": ("lightning_logs", link("V")),
    "a level below": ("lightning_logs/version_0", link("V")),
    "far below": ("a/b/c/d/e", link("../../../../../victim")),
    "the folder above": ("a/b", link("../..")),
    "the root": ("a", link("/")),
    "another case": ("Checkpoints", link("V")),
    "unicode": ("a/\u202eé", link("V")),
    ".hydra": (".hydra", link("V")),
    "a pipe": ("train.log", pipe),
    "a pipe below": ("a/x", pipe),
}


def with_verbs() -> Iterator[Any]:
    """Yield each link with two verbs, in turns, and with all of them where there is time."""
    for turn, name in enumerate(LINKS):
        verbs = [VERBS[(turn + step) % len(VERBS)] for step in (0, 3)]
        yield pytest.param(name, verbs, id=name)
        yield pytest.param(name, VERBS, id=f"{name}, all", marks=pytest.mark.slow)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(("name", "verbs"), list(with_verbs()))
def test_a_link(
    name: str,
    verbs: Sequence[str],
    run_dir: Path,
    victim: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place, put = LINKS[name]
    finish(run_dir)
    path = run_dir / place
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, victim)
    before = listing(run_dir, "-") if put is not pipe else None
    for verb in verbs:
        line = refused(arguments(verb, run_dir), 3 if verb == "report" else 4, capfd)
        assert "a link out of" in line or "not a regular file" in line
    again = [*made.START, f"hydra.run.dir={run_dir}"]
    refused(again, 4, capfd)
    assert before is None or listing(run_dir, "-") == before


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(
    "name", ["0", "1/checkpoints", "experiment", "ledger", "ledger/00000.json", "study.db",
             "study.db-journal", "sweep.json", ".lock", "multirun.yaml", "0/.hydra", ".submitit"]
)  # fmt: skip
def test_a_link_in_a_sweep(
    name: str, run_dir: Path, victim: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = run_dir / "sweep"  # which may change
    sweep.mkdir()
    (sweep / "sweep.json").write_text("{}")
    path = sweep / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim if "." not in name else victim / "secret.yaml")
    before = listing(run_dir, "-")
    assert "a link out of" in refused(["resume", str(sweep)], 4, capfd)
    assert "a link out of" in refused(
        ["train", "-m", "seed=1,2", f"hydra.sweep.dir={sweep}"], 4, capfd
    )
    refused(["report", str(sweep)], 3, capfd)
    assert listing(run_dir, "-") == before


def test_links_within_are_kept(run_dir: Path) -> None:
    """Trackers make them, and so does ModelCheckpoint's ``save_last=link``."""
    (run_dir / "wandb").mkdir()
    (run_dir / "wandb" / "latest").symlink_to("../checkpoints")
    assert main(["resume", str(run_dir)]) == 0


# --- states of callbacks in a checkpoint

MINE = ModelCheckpoint(monitor="val/acc")
SCORE = torch.tensor(0.5)
STATES: dict[str, tuple[int, str, Any]] = {
    "best elsewhere": (4, "best_k_models", {"V/x.ckpt": SCORE}),
    "best above": (4, "best_k_models", {"D/../../victim/x.ckpt": SCORE}),
    "best, relative": (4, "best_k_models", {"victim/x.ckpt": SCORE}),
    "best of a like name": (4, "best_k_models", {"D_/x.ckpt": SCORE}),
    "best at an address": (4, "best_k_models", {"s3://bucket/x.ckpt": SCORE}),
    "best is a number": (4, "best_k_models", {1: SCORE}),
    "best is a list": (3, "best_k_models", ["V/x.ckpt"]),
    "best of a text": (3, "best_k_models", {"D/x.ckpt": "high"}),
    "worst elsewhere": (4, "kth_best_model_path", "V/x.ckpt"),
    "worst above": (4, "kth_best_model_path", "D/../../victim/x.ckpt"),
    "worst is a number": (3, "kth_best_model_path", 1),
    "last elsewhere": (4, "last_model_path", "V/x.ckpt"),
    "last above": (4, "last_model_path", "D/../../victim/x.ckpt"),
    "last at an address": (4, "last_model_path", "file://V/x.ckpt"),
    "threshold is text": (3, "kth_value", "high"),
    "threshold is many": (3, "kth_value", torch.ones(9)),
    "nothing": (3, "", None),
    "best alone elsewhere": (0, "best_model_path", "V/x.ckpt"),
}


def with_states(run_dir: Path, callbacks: dict[str, Any], states: dict[str, Any]) -> None:
    """Give a run more callbacks, and its checkpoints their states."""
    config = yaml.safe_load((run_dir / CONFIG).read_text())
    config["callbacks"] |= callbacks
    (run_dir / CONFIG).write_text(yaml.safe_dump(config))
    content = torch.load(io.BytesIO((run_dir / LAST).read_bytes()), weights_only=True)
    content["callbacks"] |= states
    for name in (LAST, PREVIOUS):
        (run_dir / name).write_bytes(made.saved(content))


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", STATES)
def test_a_state_of_a_model_checkpoint(
    name: str, run_dir: Path, victim: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, key, value = STATES[name]
    mine = str((run_dir / "mine").resolve())

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {placed(key): score for key, score in value.items()}
        if not isinstance(value, str):
            return value
        return value.replace("V/", f"{victim}/").replace("D/", f"{mine}/").replace("D_", f"{mine}_")

    state = MINE.state_dict() | {"dirpath": mine} | ({key: placed(value)} if key else {})
    node = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "./mine"}
    with_states(
        run_dir, {"mine": node | {"monitor": "val/acc"}}, {MINE.state_key: state if key else {}}
    )
    if code:
        assert str(LAST) in refused(["resume", str(run_dir)], code, capfd)
    else:
        assert main(["resume", str(run_dir)]) == 0


@pytest.mark.parametrize(
    ("callback", "arguments", "change"),
    [
        (EarlyStopping("val/acc"), {"monitor": "val/acc"}, {"wait_count": "many"}),
        (EarlyStopping("val/acc"), {"monitor": "val/acc"}, {"best_score": "high"}),
        (Timer("00:01:00:00"), {"duration": "00:01:00:00"}, {"time_elapsed": 5}),
        (Timer("00:01:00:00"), {"duration": "00:01:00:00"}, {"time_elapsed": {"train": "x"}}),
    ],
)
def test_a_state_of_another_callback(
    callback: Any,
    arguments: dict[str, Any],
    change: dict[str, Any],
    run_dir: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    node = {"_target_": f"lightning.pytorch.callbacks.{type(callback).__name__}", **arguments}
    state = callback.state_dict() | change
    with_states(run_dir, {"x": node}, {callback.state_key: state})
    assert str(LAST) in refused(["resume", str(run_dir)], 3, capfd)


def test_a_run_whose_config_saves_no_checkpoint(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing would check the states in one."""
    config = yaml.safe_load((run_dir / CONFIG).read_text())
    config["callbacks"] = {}
    (run_dir / CONFIG).write_text(yaml.safe_dump(config))
    assert "no callback that saves" in refused(["resume", str(run_dir)], 3, capfd)


def test_there_are_enough_of_them() -> None:
    configs = sum(map(len, ROWS.values()))
    assert configs + len(LINKS) + len(STATES) + 12 + 5 >= 120
