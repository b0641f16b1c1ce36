"""A run's manifest: its attempts, its state, and what its figures depend on."""

import json
from pathlib import Path

import pytest

from mnist_lab.errors import InputError, Pruned, Stopped
from mnist_lab.runs import directory, manifest


def test_manifest_grows(tmp_path: Path) -> None:
    manifest.update_manifest(tmp_path, state="running", started="a")
    manifest.update_manifest(tmp_path, state="finished")
    content = directory.read_json(tmp_path / directory.MANIFEST)
    assert content == {"state": "finished", "started": "a"}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "finished"),
        (Stopped(15), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (Pruned("at epoch 1"), "pruned"),
        (RuntimeError("bad luck"), "failed"),
    ],
)
def test_an_attempt_says_how_it_ended(
    error: BaseException | None, state: str, tmp_path: Path
) -> None:
    def work(from_step: int, error: BaseException | None) -> None:
        with manifest.attempt(tmp_path, {"device": "cpu"}, from_step):
            assert manifest.read_manifest(tmp_path)["state"] == "running"
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            work(0, error)
    else:
        work(0, None)
    content = manifest.read_manifest(tmp_path)
    assert (content["state"], content["device"]) == (state, "cpu")
    assert manifest.is_finished(tmp_path) == (state == "finished")
    work(7, None)
    content = manifest.read_manifest(tmp_path)
    assert [attempt["from_step"] for attempt in content["attempts"]] == [0, 7]
    assert [attempt["state"] for attempt in content["attempts"]] == [state, "finished"]


@pytest.mark.parametrize("text", ['{"attempts": 3}', '{"attempts": [1]}', '{"sha256": [1]}'])
def test_entries_of_another_kind_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / directory.MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: (attempts|sha256): must be"):
        manifest.read_manifest(tmp_path)


def test_environment_names_what_figures_depend_on() -> None:
    environment = manifest.environment()
    assert {"python", "torch", "lightning", "mnist_lab"} <= environment["versions"].keys()
    assert json.dumps(environment)
    git = environment["git"]
    assert git is None or len(git["commit"]) == 40


def test_differences_name_what_has_changed() -> None:
    before = {"device": "cpu", "threads": 2, "versions": {"torch": "2.14.0"}, "pid": 1}
    after = {"device": "cpu", "threads": 1, "versions": {"torch": "2.15.0"}, "pid": 2}
    assert manifest.differences(before, after) == [
        "threads 2, now 1",
        "versions.torch 2.14.0, now 2.15.0",
    ]
    assert manifest.differences(before, before) == []
