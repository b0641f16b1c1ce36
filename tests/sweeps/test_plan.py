"""Content of sweep.json, and the difference to another sweep."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.sweeps.plan import (
    Plan,
    changes,
    check_same,
    flat_config,
    read_plan,
    write_plan,
)

PLAN = Plan(
    space={"lr": "lr=interval(0,1)"},
    search={"sampler": "tpe", "seed": 0},
    config={"trainer.max_epochs": 3},
    overrides=["model=mlp", "lr=interval(0,1)", "allow_targets=[os.]", "hydra.sweep.dir=old"],
)


def test_code_and_versions_are_known() -> None:
    assert PLAN.code.keys() in ({"commit", "diff_sha256"}, set())
    assert {"mnist_lab", "torch", "optuna"} <= PLAN.versions.keys()
    assert PLAN.home != Plan({}, {}, {}).home


def test_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    write_plan(tmp_path, PLAN.content())
    assert read_plan(tmp_path) == PLAN.content()
    check_same(tmp_path, PLAN.content(), replace(PLAN, home="other").identity(), False)


@pytest.mark.parametrize(
    ("changes", "message", "may_be_accepted"),
    [
        ({"space": {"lr": "lr=interval(0,2)"}}, "lr=interval(0,1) there, lr=interval(0,2)", False),
        ({"space": {}}, "lr=interval(0,1) there, not searched over here", False),
        ({"search": {"sampler": "gp", "seed": 0}}, "hydra.sweeper.sampler=tpe there", False),
        ({"config": {"trainer.max_epochs": 4}}, "trainer.max_epochs=3 there, 4 here", True),
        ({"config": {}}, "trainer.max_epochs=3 there, null here", True),
        ({"config": dict.fromkeys("abcd", 1)}, "and 2 more); choose another", True),
    ],
)
def test_another_sweep_is_refused(
    changes: dict[str, dict[str, str]], message: str, may_be_accepted: bool
) -> None:
    now = replace(PLAN, **changes).identity()  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        check_same("here", PLAN.content(), now, accept_changes=False)
    assert str(caught.value).startswith("here: holds another sweep (")
    assert message in str(caught.value)
    assert ("accept_changes" in str(caught.value)) == may_be_accepted
    if may_be_accepted:
        check_same("here", PLAN.content(), now, accept_changes=True)
    else:
        with pytest.raises(ConfigError):
            check_same("here", PLAN.content(), now, accept_changes=True)


def test_an_old_name_of_a_target_is_no_difference() -> None:
    now = replace(PLAN, config={"callbacks.checkpoint._target_": "mnist_lab.training.Checkpoint"})
    before = replace(
        now, config={"callbacks.checkpoint._target_": "mnist_lab.callbacks.Checkpoint"}
    )
    check_same("here", before.content(), now.identity(), accept_changes=False)


def test_another_commit_or_version_is_named() -> None:
    before = replace(PLAN, code={"commit": "a"}, versions={"torch": "1.0"}).content()
    now = replace(PLAN, code={"commit": "b"}, versions={"torch": "2.0", "numpy": "2.0"})
    assert changes(before, now) == ["versions.torch 1.0, now 2.0", "git.commit a, now b"]
    of_files = before | {"code": {"mnist_lab/train.py": "1a2b"}}  # as 1.0 wrote it
    assert changes(of_files, now) == ["versions.torch 1.0, now 2.0"]


def test_what_varies_and_what_may_differ_is_no_part() -> None:
    config = OmegaConf.create(
        {
            "model": {"init": "zeros", "dropout": 0.1},
            "optimizer": {"lr": 1, "betas": [1, 2]},
            "trainer": {"devices": 1, "max_epochs": 3},
            "callbacks": {},
            "hydra": {"verbose": True},
        }
    )
    flat = flat_config(config, {"model": "a,b", "+optimizer.lr": "1,2"})
    assert flat == {"optimizer.betas": [1, 2], "trainer.max_epochs": 3, "callbacks": {}}


def test_a_corrupt_identity_is_named() -> None:
    with pytest.raises(InputError, match="here: space, search, config: must be mappings"):
        check_same("here", {"space": 5}, PLAN.identity(), False)
