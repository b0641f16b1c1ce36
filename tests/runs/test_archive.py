"""What is packed comes out as it was; what a stranger packed is refused before it is written."""

import stat
import zipfile
from pathlib import Path

import pytest
from made_runs import make_run

from mnist_lab.errors import (
    BusyError,
    ConfigError,
    InputError,
    LabError,
    UntrustedError,
    printable,
)
from mnist_lab.runs.archive import pack, unpack
from mnist_lab.runs.directory import hold


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_what_is_packed_comes_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.ckpt").write_bytes(bytes(range(256)) * 1000)
    (run / ".0.partial").write_bytes(b"half")
    pack(run, tmp_path / "a.zip")
    (run / ".0.partial").unlink()
    (tmp_path / "there").mkdir()
    there = unpack(tmp_path / "a.zip", tmp_path / "there")
    assert there == tmp_path / "there/run"
    assert contents(there) == contents(run)
    with pytest.raises(ConfigError, match="is there already"):
        unpack(tmp_path / "a.zip", tmp_path / "there")


def test_a_run_that_trains_is_not_packed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    with hold(run / ".lock", run), pytest.raises(BusyError):
        pack(run, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_link_out_of_the_directory_is_not_packed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (tmp_path / "secret").write_text("secret")
    (run / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UntrustedError):
        pack(run, tmp_path / "a.zip")


@pytest.mark.parametrize(
    "name",
    ["run_12:30/a", "run\\1/a", ".run/a", "run/own.py", "run/a\\b", "run/a:b", "run/a\udcff"],
)
def test_what_would_be_refused_is_not_packed(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / Path(name).parent, 0, 0.9)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="is not taken from an archive") as raised:
        pack(run, tmp_path / "a.zip")
    assert printable(name if name.startswith("run/") else run) in str(raised.value)
    assert not (tmp_path / "a.zip").exists()


def test_a_run_without_its_config_is_not_packed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (run / "config.yaml").unlink()
    with pytest.raises(InputError, match=r"config.yaml: no such file"):
        pack(run, tmp_path / "a.zip")


def test_the_top_folder_has_the_name_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (run / "checkpoints").mkdir()
    monkeypatch.chdir(run / "checkpoints")
    pack(Path(".."), tmp_path / "a.zip")
    (tmp_path / "there").mkdir()
    assert unpack(tmp_path / "a.zip", tmp_path / "there") == tmp_path / "there/run"


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


BAD = {
    "parent": member("run/../../evil"),
    "parent at the end": member("run/.."),
    "absolute": member("/etc/evil"),
    "backslash": member("run\\..\\evil"),
    "drive": member("C:/evil"),
    "link": member("run/link", stat.S_IFLNK | 0o777),
    "device": member("run/pipe", stat.S_IFIFO | 0o644),
    "folder": member("run/folder/"),
    "no folder": member("config.yaml"),
    "dot": member("run/./evil"),
    "hidden": member(".git/config"),
    "code": member("run/__init__.py"),
    "other": member("other/evil"),
    "twice": member("run/config.yaml"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", BAD)
def test_a_strangers_archive_writes_nothing(kind: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member("run/config.yaml"), "model: {}")
        archive.writestr(BAD[kind], "evil")
    (tmp_path / "in").mkdir()
    with pytest.raises((UntrustedError, InputError)):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_what_would_grow_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run/config.yaml", "a" * 10_000_000)
    with pytest.raises(InputError, match="stored as it is"):
        unpack(tmp_path / "a.zip", tmp_path)
    # A member's header can say any size, and members can lie on each other.
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("run/config.yaml", "a" * 1000)
    content = bytearray((tmp_path / "b.zip").read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 20 : place + 28] = (2**31).to_bytes(4, "little") * 2
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(InputError, match="larger than it is"):
        unpack(tmp_path / "b.zip", tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_corrupt_archive_is_one_line_and_leaves_nothing(damage: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    pack(run, tmp_path / "a.zip")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[content.index(b"hidden_dims")] ^= 1
    else:
        content = bytearray(b"no archive")
    (tmp_path / "a.zip").write_bytes(content)
    (tmp_path / "in").mkdir()
    with pytest.raises(LabError) as raised:
        unpack(tmp_path / "a.zip", tmp_path / "in")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "in").iterdir()) == []
