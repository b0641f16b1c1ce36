"""Paths as values: relative to where a command was typed, and stored relative to the run."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from composing import compose
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

import mnist_lab
from mnist_lab.config import hydra_internals
from mnist_lab.config.compose import Loader
from mnist_lab.config.paths import located, stored
from mnist_lab.config.resolve import resolved
from mnist_lab.config.saved import check_same_config, portable, read_stored, run_config
from mnist_lab.errors import ConfigError
from mnist_lab.files.yaml import loader_of
from mnist_lab.runs.directory import CONFIG, MANIFEST

LONG = "n" * 90
NAMES = [
    *(
        "plain",
        f"{LONG} {LONG}",
        "a\tb",
        "it's # one",
        "it's: one",
        '"',
        "\\",
        "\\n",
        "a\nb",
        "a\r",
    ),
    *(
        "\x07",
        "\x85",
        "a\u2028b",
        "\ufeff",
        "größe",
        "数字",
        "\U0001f600",
    ),
    # OmegaConf 2.4 neither writes nor reads a name that is not UTF-8, and its directory is refused.
    *(("\udcff", "x\udc80\udcfe") if hydra_internals._IS_1_3 else ()),
    *(" lead", "trail ", "a  b", "-", "- a", "[", "{a: 1}", "&a", "*a", "!a", "%a", "@a", "`a"),
    *("#", "a #b", "a: b", "a:", "?", "|", ">", "null", "~", "1e3", "0x1", "yes", "<<", "=", "..."),
    *("2020-01-01", ".hidden", "...", "._data", "$x", "a=b", "a,b", "(a)", "%(a)s", "${", "${x}"),
]


def run_of(folder: Path, config: DictConfig) -> Path:
    """Leave in a folder what a run leaves as it begins."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(portable(config))
    (folder / MANIFEST).write_text("{}")
    return folder


def config_of(run_dir: Path, **values: Any) -> DictConfig:
    config = OmegaConf.create({"run_dir": "x", "data": {"root": "x"}, "more": {}})
    for name, value in {"run_dir": str(run_dir), **values}.items():
        OmegaConf.update(config, name.replace("__", "."), value)
    return config


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_stored_as_a_dot_and_read_by_each_reader(name: str, tmp_path: Path) -> None:
    if "${" in name:
        with pytest.raises(ConfigError, match=r"must be a path without \$\{"):
            run_config(run_dir=tmp_path / name, allowed=[])
        return
    run_dir, elsewhere = tmp_path / name, f"/data/{name}"
    values = {"": run_dir, "x": run_dir / "x", name: run_dir / name, "_data": f"{run_dir}_data"}
    run_of(
        run_dir,
        config_of(run_dir, data__root=elsewhere, more={f"k{k}": str(v) for k, v in values.items()}),
    )
    content = (run_dir / CONFIG).read_bytes()
    for plain in (
        OmegaConf.to_container(read_stored(run_dir / CONFIG)),
        yaml.load(content, loader_of(content)),
        yaml.safe_load(content),
    ):
        more = {"k": ".", "kx": "./x", f"k{name}": f"./{name}", "k_data": f"{run_dir}_data"}
        assert plain == {"run_dir": ".", "data": {"root": elsewhere}, "more": more}
    moved = run_dir.rename(tmp_path / "moved")
    found: Any = located(OmegaConf.to_container(read_stored(moved / CONFIG)), moved)
    assert found["more"]["k"] == str(moved)
    assert found["more"][f"k{name}"] == f"{moved}/{name}"
    assert found["data"]["root"] == elsewhere


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30)
TEXTS = st.one_of(
    PARTS,
    st.lists(st.sampled_from(["", ".", "..", "/", "a", "run", "/run"]) | PARTS).map("/".join),
    st.binary(max_size=20).map(os.fsdecode),
)


@given(st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1), TEXTS, TEXTS)
def test_what_is_stored_is_what_is_read(parts: list[str], text: str, end: str) -> None:
    run_dir, moved = Path("/", *parts), Path("/elsewhere")
    values = [text, end, str(run_dir), f"{run_dir}/{text}", f"{run_dir}{end}"]
    there = stored(values, run_dir)
    for value, again in zip(values, located(there, run_dir), strict=True):
        assert again == value or (Path(again) == Path(value) and Path(value).is_absolute())
    for value, again in zip(values, located(there, moved), strict=True):
        is_inside = Path(value).is_relative_to(run_dir) and ".." not in Path(value).parts
        expected = moved / Path(value).relative_to(run_dir) if is_inside else value
        assert Path(again) == Path(expected)
        assert is_inside or again == value


# --- what a path is relative to


@pytest.mark.parametrize(
    ("options", "key", "path"),
    [
        (["data.root=mine"], "data.root", "{here}/mine"),
        (["data.root=./mine"], "data.root", "{here}/./mine"),
        (["data.root=../mine"], "data.root", "{here}/../mine"),
        (["data.root=."], "data.root", "{here}/."),
        (["data.root=''"], "data.root", "{here}/"),
        (["data.root='~/mine'"], "data.root", "{home}/mine"),
        (["data.root=/mine"], "data.root", "/mine"),
        (["data.root=${data.dataset}_files"], "data.root", "{here}/mnist_files"),
        (["data.root=${oc.env:MINE}/x"], "data.root", "{here}/set/x"),
        (["data.root=${run_dir}/x"], "data.root", "./x"),
        (["logger.tensorboard.save_dir=logs"], "logger.tensorboard.save_dir", "{here}/logs"),
        ([], "logger.tensorboard.save_dir", "."),
        (["logger.tensorboard.save_dir=./logs"], "logger.tensorboard.save_dir", "{here}/./logs"),
        (["+callbacks.checkpoint.dirpath=x"], "callbacks.checkpoint.dirpath", "{here}/x"),
        (
            ["+logger.x={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: 's3://a'}"],
            "logger.x.save_dir",
            "s3://a",
        ),
        (["data.seed=3"], "data.root", None),
    ],
)
def test_a_path_is_relative_to_where_the_command_was_typed(
    options: list[str], key: str, path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE", "set")
    monkeypatch.setenv("HOME", "/home/me")
    loader = Loader(options)
    master = loader.compose(options)
    monkeypatch.chdir("/")
    expected = path and path.format(here=tmp_path, home="/home/me")
    assert OmegaConf.select(resolved(master), key) == expected


def test_a_trial_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = ["data.root=${data.dataset}"]
    loader = Loader(fixed)
    master = loader.compose(fixed)
    for overrides, root in (
        (["data.dataset=kmnist"], "kmnist"),
        (["data=fashion_mnist"], "fashion_mnist"),
        (["data.root=b"], "b"),
    ):
        assert loader.trial(master, [*fixed, *overrides]).data.root == str(tmp_path / root)


@pytest.mark.parametrize(
    "option", ["data.root='\\${x}'", "data.root='a\\${b'", "hydra.run.dir='\\${x'"]
)
def test_a_path_that_hydra_would_resolve_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a path without \$\{"):
        compose(option)


def test_the_current_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "${x}").mkdir()
    monkeypatch.chdir(tmp_path / "${x}")
    with pytest.raises(ConfigError, match=r"the current folder=.*must be a path without \$\{"):
        compose()


# --- the same command again


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    """A config as it is compared, in which the run's directory is a dot."""
    config = mnist_lab.compose(["logger=many", "callbacks=none"])
    OmegaConf.set_struct(config, False)
    return config


@pytest.mark.parametrize("name", [name for name in NAMES if "${" not in name])
def test_the_same_config_is_known_again(
    name: str, composed: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / name
    ran = OmegaConf.create(located(OmegaConf.to_container(composed), run_dir))
    run_of(run_dir, ran)
    check_same_config(run_dir, composed)
    check_same_config(Path(name), composed)
    for key, value in (("logger.csv.save_dir", f"{run_dir}/x"), ("seed", 4)):
        OmegaConf.update(ran, key, value)
        with pytest.raises(ConfigError, match="holds a run of another config"):
            check_same_config(Path(name), ran)
    run_of(run_dir, ran)
    check_same_config(Path(name), ran)


def test_a_text_that_is_no_path_keeps_its_dot(tmp_path: Path) -> None:
    values = {
        "a": ".",
        "b": "./x",
        "c": "./.",
        "d": "././x",
        "e": "..",
        "f": "./.x",
        "g": "",
        "h": ".x",
    }
    run_of(tmp_path, config_of(tmp_path, more=values))
    found: Any = located(OmegaConf.to_container(read_stored(tmp_path / CONFIG)), tmp_path)
    assert found["more"] == values
