"""What docs/ tells people to type works as it is written there."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from door import call

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FEW = " trainer.limit_train_batches=5 trainer=cpu"  # the tests' only additions, for time


@pytest.mark.slow
def test_a_model_and_a_data_set_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    for language, text in BLOCK.findall((DOCS / "your_own.md").read_text(encoding="utf-8")):
        if language == "console":
            lines += [line.removeprefix("$ ") for line in text.splitlines()]
        else:
            path = tmp_path / re.match(r"# (\S+)\n", text)[1]  # type: ignore[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    assert lines.pop(0) == "export PYTHONPATH=."
    monkeypatch.syspath_prepend(tmp_path)
    assert len(lines) == 16
    for line in lines:
        if line.startswith("python "):
            monkeypatch.chdir(tmp_path)
            runpy.run_path(line.removeprefix("python "))
            continue
        command = line.removeprefix("mnist-lab ")
        done = call(command + FEW * command.startswith("train"), tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for name in ("residual", "parity", "wide"):
        del sys.modules[name]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
