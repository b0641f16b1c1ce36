"""``mnist-lab new`` writes a project that works as it is written."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from door import call

FEW = " trainer.max_steps=3 trainer=cpu trainer.limit_val_batches=1 trainer.limit_test_batches=1"


@pytest.mark.thorough
def test_the_project_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    done = call("new project", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "project: a project to begin with; project/README.md has its commands\n"
    monkeypatch.syspath_prepend(folder)
    try:
        own_test = importlib.import_module("test_mine")
        own_test.test_recipe(tmp_path / "of_the_test", monkeypatch)
        for line in re.findall(r"\$ mnist-lab (.+)", (folder / "README.md").read_text()):
            done = call(line + FEW * line.startswith("train"), folder)
            assert (done.returncode, done.stderr) == (0, ""), done.stdout
    finally:
        for name in ("mine", "test_mine"):
            sys.modules.pop(name, None)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.py").write_text("x = 1\n")
    for name in ("full", "full/mine.py"):
        done = call(f"new {name}", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"mnist-lab new: {name}: must be a new or an empty folder\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.py"]
    done = call("new full/mine.py/below", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert call("new .", tmp_path).returncode == 0
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["README.md", "mine.py", "mine.yaml", "test_mine.py"]
