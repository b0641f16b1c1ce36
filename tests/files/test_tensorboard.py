"""TensorBoard's event files are written and read without TensorFlow, also where it is installed."""

from pathlib import Path

import pytest
from door import FEW_BATCHES, ahead, run


@pytest.mark.thorough
def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    fake = tmp_path / "installed" / "tensorflow"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise RuntimeError('tensorflow was imported')\n")
    words = FEW_BATCHES.replace("logger=none", "logger=tensorboard")
    for command in (
        f"train model=softmax {words}",
        "report outputs --html page.html",
    ):
        done = run(command, tmp_path, **ahead(fake.parent))
        assert (done.returncode, done.stderr) == (0, "")
    assert "Learning curves" in (tmp_path / "page.html").read_text()
