"""A run that came from elsewhere, in a folder where nothing may come to life."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hostile_checkpoints as made
import pytest

from mnist_lab.runs.directory import MANIFEST


@pytest.fixture(scope="session")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was killed. No test writes there."""
    return made.unfinished_run(tmp_path_factory)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with a module that tells if it is imported, and no canary after all."""
    trap = f"open({str(tmp_path / 'canary')!r}, 'w').close()\n"
    (tmp_path / "boobytrapped.py").write_text(f"{trap}def boom(*_, **__): {trap}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVIL", "os.system")
    yield tmp_path
    assert not list(tmp_path.rglob("canary*"))
    assert not Path("/tmp/canary").exists()
    assert "boobytrapped" not in sys.modules


@pytest.fixture
def run_dir(unfinished: Path, folder: Path) -> Path:
    """A run as somebody crafts one: without the record by which an edit is found."""
    path = Path(shutil.copytree(unfinished, folder / "run")) / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["config"]
    path.write_text(json.dumps(manifest))
    return path.parent


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it be an error to import what takes seconds and hundreds of megabytes."""
    for name in ("torch", "lightning", "mnist_lab.training.run", "mnist_lab.inference.evaluate"):
        monkeypatch.setitem(sys.modules, name, None)
