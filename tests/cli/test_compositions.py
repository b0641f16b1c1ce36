"""A run is composed once, and so are the trials of a sweep that differ in values alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from door import FEW_BATCHES, call

from mnist_lab.config.compose import Loader
from mnist_lab.config.hydra_internals import ConfigLoaderImpl

SHORT = f"model=softmax callbacks=none {FEW_BATCHES}"


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what Hydra composes from files, and the trials that are composed in all."""
    counts: Counter[str] = Counter()
    composed, composed_trial = ConfigLoaderImpl._load_configuration_impl, Loader._composed_trial

    def count_files(*arguments: Any, **options: Any) -> Any:
        counts["files"] += 1
        return composed(*arguments, **options)

    def count_trials(*arguments: Any, **options: Any) -> Any:
        counts["trials"] += 1
        return composed_trial(*arguments, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", count_files)
    monkeypatch.setattr(Loader, "_composed_trial", count_trials)
    return counts


def test_a_run_and_its_resume(counts: Counter[str], tmp_path: Path) -> None:
    assert call(f"train {SHORT} hydra.run.dir=here", tmp_path).returncode == 0
    assert counts == {"files": 1}
    assert call("resume here", tmp_path).returncode == 0
    assert counts == {"files": 1}  # its config is read


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("launcher", ["sweeper=basic", "launcher=basic", "launcher=fused"])
def test_a_sweep(launcher: str, counts: Counter[str], tmp_path: Path) -> None:
    command = f"train -m seed=1,2,3 {SHORT} hydra/{launcher} hydra.sweep.dir=here"
    done = call(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert counts == {"files": 1, "trials": 1}
    if launcher != "sweeper=basic":
        counts.clear()
        assert call("resume here", tmp_path).returncode == 0
        assert counts["trials"] == 1


def test_a_trial_with_files_of_its_own(counts: Counter[str], tmp_path: Path) -> None:
    command = f"train -m model=softmax,mlp callbacks=none {FEW_BATCHES} hydra/sweeper=basic"
    assert call(command, tmp_path).returncode == 0
    assert counts == {"files": 3, "trials": 2}
