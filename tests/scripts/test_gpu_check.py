"""scripts/gpu_check in its small form on the CPU, so that each part works on the day of a GPU."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PARTS = ("recipes", "bits", "precision", "memory", "speed", "sweep", "speedrun", "ddp", "use")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPTS / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = {"cpu": "a CPU", "cores": 2, "gpu": None, "threads": 1, "bf16": False}
    facts |= {"os": "Linux", "versions": {}, "commit": "", "date": "2026-01-01"}
    monkeypatch.setattr(module, "describe", lambda: facts)
    monkeypatch.setenv("PYTHONPATH", "")
    return module


def report(folder: Path) -> tuple[dict[str, Any], str]:
    (path,) = folder.glob("gpu-cpu-*.json")
    return json.loads(path.read_text()), path.with_suffix(".md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_in_its_small_form(part: str, script: ModuleType, tmp_path: Path) -> None:
    assert script.main(["--cpu", "--folder", str(tmp_path), part]) == 0
    found, text = report(tmp_path)
    assert found["parts"][part]["failed"] is None
    assert found["parts"][part]["rows"]
    assert f"## {part}: " in text


def test_resumes_with_what_is_missing_or_failed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_rows import parts

    done: list[str] = []

    def good(_: parts.Place) -> Iterator[parts.Row]:
        """Is good."""
        done.append("good")
        yield {"name": "a", "figure": "1 s"}

    def bad(_: parts.Place) -> Iterator[parts.Row]:
        """Is bad at first."""
        done.append("bad")
        if done.count("bad") == 1:
            raise RuntimeError("no memory")
        yield {"name": "b", "figure": "2 s"}

    monkeypatch.setattr(parts, "PARTS", {"good": good, "bad": bad})
    words = ["--cpu", "--folder", str(tmp_path)]
    assert script.main(words) == 1
    assert "**Failed:** RuntimeError: no memory" in report(tmp_path)[1]
    assert script.main(words) == 0
    assert done == ["good", "bad", "bad"]
    assert script.main([*words, "good"]) == 0
    assert done[3:] == ["good"]
    assert "| a | 1 s |" in report(tmp_path)[1]
    assert list(report(tmp_path)[0]["parts"]) == ["good", "bad"]


def test_says_what_is_missing(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--folder", str(tmp_path)]) == 2
    assert "torch sees no GPU" in capsys.readouterr().err
    script.missing_packages = lambda: ["torch>=2.14,<3"]
    assert script.main(["--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "gpu_check: missing packages: torch>=2.14,<3\n"
    with pytest.raises(SystemExit):
        script.main(["none"])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("script")
def test_each_part_is_tried() -> None:
    from gpu_rows.parts import PARTS as there

    assert tuple(there) == PARTS
    for name in [name for name in sys.modules if name.startswith("gpu_rows")]:
        del sys.modules[name]
