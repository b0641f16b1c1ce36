"""Every figure of the records' page comes from their file, and their short forms resume exactly."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from door import call
from killed import killed_at

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("record_*.yaml"))
SPEEDRUNS = ["speedrun", "speedrun_995"]
SHORT = (
    "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=4 trainer.limit_test_batches=1 "
    "trainer.enable_model_summary=false logger=none callbacks.checkpoint.every_n_steps=3"
)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    path = ROOT / "benchmarks" / "records.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def rounded(value: Any) -> Any:
    """Return nested values with their numbers rounded."""
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.9g}")


def test_the_page_and_the_tables_are_made_of_the_seeds(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    page, table = (importlib.import_module(f"record_rows.{name}") for name in ("page", "table"))
    gathered = table.gather(ROOT / "benchmarks" / "records")
    assert rounded(gathered) == rounded(rows)  # by the last bits versions of SciPy differ
    assert {row["anchor"]["chosen"] for row in rows if row["anchor"]} <= set(page.CHOSEN)
    for path, block in page.blocks(rows).items():
        assert block in path.read_text(encoding="utf-8")
    if rows:
        written = (ROOT / "benchmarks" / "records.md").read_text(encoding="utf-8")
        assert "\n".join(table.markdown(rows)) in written
        assert (ROOT / "docs" / "records.png").exists()


def test_small_records_keep_to_their_limits() -> None:
    from mnist_lab import compose
    from mnist_lab.training.trainer import build_model

    for name, most in (("record_1k", 1_000), ("record_8k", 8_000)):
        model = build_model(compose([f"experiment={name}"]))
        assert sum(parameter.numel() for parameter in model.parameters()) <= most
    assert compose(["experiment=record_8k"]).trainer.max_epochs <= 15


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*RECIPES, *SPEEDRUNS])
def test_a_recipe_is_resumed_and_verified_to_the_same_bits(recipe: str, tmp_path: Path) -> None:
    command = f"train experiment={recipe} {SHORT}"
    if recipe in SPEEDRUNS:  # they save nothing, since that takes time
        command += " callbacks=default"
    whole = call(f"{command} hydra.run.dir=whole", tmp_path)
    assert whole.returncode == 0, whole.stderr
    for step in (2, 6):
        killed_at(step, f"{command} hydra.run.dir=killed", tmp_path)
    resumed = call("resume killed", tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    hashes = [
        json.loads((tmp_path / name / "manifest.json").read_text())["sha256"]
        for name in ("whole", "killed")
    ]
    assert hashes[0] == hashes[1]
    verified = call("verify whole", tmp_path)
    assert verified.returncode == 0, verified.stderr
