"""Runs that are found and read, and what is broken among them."""

import json
import math
from pathlib import Path

import pytest
from made_runs import CONFIG, make_run

from mnist_lab.errors import InputError
from mnist_lab.report.read_runs import collect, read_entry, run_directories


def test_a_directory_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    make_run(tmp_path / "deep/er/a", 0, 0.9)
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    places = [tmp_path, tmp_path / "deep", tmp_path / "deep/er/a", tmp_path / "link"]
    assert len(run_directories(places)) == 1


def test_what_is_broken_or_unfinished_is_left_out(tmp_path: Path) -> None:
    make_run(tmp_path / "good", 0, 0.9)
    for number, text in enumerate(("", "[]", '{"val/acc": "high"}', "[" * 100_000, "\xff")):
        bad = make_run(tmp_path / f"bad{number}", 0, 0.9)
        (bad / "metrics.json").write_bytes(text.encode("latin-1"))
    for number, text in enumerate(("", "- 1", "model: 3", "a: !!python/object:os.system {}")):
        bad = make_run(tmp_path / f"config{number}", 0, 0.9)
        (bad / "config.yaml").write_text(text)
    huge = make_run(tmp_path / "huge", 0, 0.9)
    (huge / "metrics.json").write_text(json.dumps({"x": 1}) + " " * 60_000_000)
    for state in ("running", "failed", "failed", "surprise"):
        other = make_run(tmp_path / f"{state}{len(list(tmp_path.iterdir()))}", 0, 0.9)
        (other / "manifest.json").write_text(json.dumps({"state": state}))
    collected = collect([tmp_path])
    assert [run.path.name for run in collected.runs] == ["good"]
    assert len(collected.broken) == 10
    assert all("\n" not in text and str(tmp_path) in text for text in collected.broken)
    assert collected.unfinished == {"running": 1, "failed": 2, "interrupted": 1}


def test_a_number_without_an_end_is_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0, 0.9)
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"val/loss": 10**400}))
    assert math.isnan(read_entry(run).metrics["val/loss"])


def test_no_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        collect([tmp_path / "none"])


def test_the_made_config_is_like_a_runs() -> None:
    assert CONFIG["model"]["_target_"] == "mnist_lab.models.MLP"


@pytest.mark.parametrize("value", [True, 1, 3])
def test_a_fast_dev_run_is_no_result(value: object, tmp_path: Path) -> None:
    make_run(tmp_path / "quick", 0, 0.9, trainer={"fast_dev_run": value})
    make_run(tmp_path / "whole", 0, 0.9, trainer={"fast_dev_run": False})
    collected = collect([tmp_path])
    assert [run.path.name for run in collected.runs] == ["whole"]
    assert collected.unfinished == {"fast_dev_run": 1}


def test_a_run_that_has_just_gone_is_broken(tmp_path: Path) -> None:
    entry = read_entry(tmp_path / "gone")
    assert (entry.state, entry.error) == (
        "broken",
        f"{tmp_path}/gone: cannot be read: No such file or directory",
    )


def test_a_manifest_without_a_state_is_of_no_finished_run(tmp_path: Path) -> None:
    (make_run(tmp_path / "a", 0, 0.9) / "manifest.json").write_text("{}")
    assert read_entry(tmp_path / "a").state == "interrupted"
    assert collect([tmp_path]).unfinished == {"interrupted": 1}
