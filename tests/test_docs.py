"""What docs/ tells people to type works as it is written there."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from door import COMMAND

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FEW = " trainer.limit_train_batches=5"  # the tests' only addition, for time


def test_a_model_and_a_data_set_of_ones_own(tmp_path: Path) -> None:
    script = ["set -e"]
    for language, text in BLOCK.findall((DOCS / "your_own.md").read_text(encoding="utf-8")):
        if language == "console":
            lines = [line.removeprefix("$ ") for line in text.splitlines()]
            script += [line + FEW * ("mnist-lab train" in line) for line in lines]
        else:
            path = tmp_path / re.match(r"# (\S+)\n", text)[1]  # type: ignore[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    assert len(script) == 6
    environment = os.environ | {"PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
