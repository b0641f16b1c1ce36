"""Each recipe says what it is, runs, and reproduces what it claims."""

import json
from pathlib import Path

import pytest
from door import call, run

from mnist_lab.config.options import CONF

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
# Test accuracy: what its source published, and how far off a single seed may be.
EXPECTED = {
    "keras_dense": (0.9241, 0.005),
    "keras_hidden_100": (0.9759, 0.005),
    "tf_deep_1000": (0.9206, 0.005),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_says_what_it_is(recipe: str) -> None:
    text = (CONF / "experiment" / f"{recipe}.yaml").read_text()
    assert f"Command: mnist-lab train experiment={recipe}" in text
    assert "# Expected: " in text
    assert "# Time: " in text


def test_each_runs(tmp_path: Path) -> None:
    done = call(
        f"train -m experiment={','.join(RECIPES)} trainer=cpu trainer.fast_dev_run=true", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(RECIPES)} trials: {len(RECIPES)} finished" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EXPECTED)
def test_reproduces_its_published_figure(recipe: str, tmp_path: Path) -> None:
    done = run(f"train experiment={recipe} trainer=cpu hydra.run.dir=run", tmp_path)
    assert done.returncode == 0, done.stderr
    published, tolerance = EXPECTED[recipe]
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test/acc"]
    assert found == pytest.approx(published, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("mlp", 0.98), ("cnn", 0.992)])
def test_a_default_reaches_what_the_readme_says(model: str, least: float, tmp_path: Path) -> None:
    done = run(f"train model={model} hydra.run.dir=run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test/acc"] >= least
