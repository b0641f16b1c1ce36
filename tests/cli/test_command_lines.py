"""Any command line ends with a code of DESIGN.md and one line; a refused one makes nothing."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_lines import drawn
from door import main

CODES = (0, 2, 3, 4, 5)
# found by drawing
KEPT = [
    ["train", "~logger=[]"],
    ["train", "~model={a:1}"],
    ["train", "-m", "~logger=csv,none"],
    ["train", "metrics=${hydra:job.num}"],
    ["train", "hydra.searchpath=['${oc.decode:[}']"],
    ["train", "-m", "hydra.searchpath=[nowhere]"],
]


def _check(words: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Run a command line up to where a run would start."""
    code: Any = None
    try:
        code = main(words)
    except SystemExit as end:  # argparse's --help
        code = end.code
    _, err = capfd.readouterr()
    made = sorted(path.name for path in folder.iterdir())
    assert code in CODES, (words, err)
    assert "Traceback" not in err, (words, err)
    if code:
        assert len(err.splitlines()) == 1, (words, err)
        assert err.startswith("mnist-lab"), (words, err)
        assert err.isprintable() or err[:-1].isprintable(), (words, err)
        assert made == ["file.txt"], (words, made)
    for name in made:
        if name != "file.txt":
            shutil.rmtree(folder / name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which no command line starts a run."""
    (tmp_path / "file.txt").write_text("a text")
    monkeypatch.chdir(tmp_path)
    for name in ("run", "sweep"):
        monkeypatch.setattr(f"mnist_lab.cli.train.{name}", lambda *_: SimpleNamespace(failed=False))
    monkeypatch.setattr("mnist_lab.cli.train.print_outcome", lambda _: None)
    return tmp_path


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(4))
def test_drawn(part: int, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in drawn(30, part):
        _check(words, folder, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(100, 120))
def test_more_drawn(part: int, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in drawn(100, part):
        _check(words, folder, capfd)


@pytest.mark.parametrize("words", KEPT, ids=" ".join)
def test_kept(words: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _check(words, folder, capfd)
