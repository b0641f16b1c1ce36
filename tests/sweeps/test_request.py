"""Request of a sweep, as far as it is known without torch or Optuna."""

import sys

import pytest
from hydra.types import RunMode

from mnist_lab.config.compose import Loader
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.request import Request, read_command


def request_of(*overrides: str) -> Request:
    loader = Loader(overrides)
    config = loader.compose(overrides, RunMode.MULTIRUN)
    return read_command(config, list(config.hydra.overrides.task), loader)


@pytest.mark.parametrize(
    ("overrides", "sampler", "total"),
    [
        (["seed=1,2", "optimizer.lr=0.1,0.2,0.3"], "grid", 6),
        (["seed=range(4)"], "grid", 4),
        (["model=mlp"], "grid", 1),
        (["optimizer.lr=interval(0.1,1)", "seed=1,2"], "tpe", 20),
        (["seed=1,2", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=3"], "random", 3),
        (["sweep=mlp_search"], "tpe", 60),
        (["sweep=lr", "optimizer.lr=0.1,0.2"], "grid", 2),
    ],
)
def test_sampler_and_total(overrides: list[str], sampler: str, total: int) -> None:
    request = request_of(*overrides)
    assert (request.settings.sampler, request.total) == (sampler, total)
    assert request.plan.search["sampler"] == sampler


def test_plan_is_of_what_does_not_vary() -> None:
    words = ["sweep=mlp_search", "monitor=val/loss", "mode=min", "seed=3"]
    request = request_of(*words, "hydra.sweeper.n_trials=7")
    assert request.objectives == {"val/loss": "min"}
    assert request.plan.overrides == [*words, "hydra.sweeper.n_trials=7"]
    assert request.plan.config["seed"] == 3
    assert "optimizer.lr" not in request.plan.config
    assert request.plan.space["model.dropout"] == "model.dropout=interval(0, 0.7)"
    # How many trials, and how they are launched, is no part of what a sweep is.
    more = request_of(*words, "hydra.sweeper.n_trials=9", "hydra.sweeper.batch_size=2")
    assert more.plan.identity() == request.plan.identity()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra.sweeper.sampler=tpe", "seed=1"], "needs something to search over"),
        (["hydra/launcher=basic,other", "seed=1,2"], "hydra/launcher=basic,other: must have one"),
        (["model=mlp,softmax", "model.dropout=0.1,0.2"], "model=softmax model.dropout=0.1: "),
        (["model.hidden_dims=[1],[2]", "model.dropout=[0.1,0.2]"], "must be one number or a list"),
        (["data.val_size=0", "optimizer.lr=interval(0.1,1)"], "without a validation"),
    ],
)
def test_what_is_wrong_is_told(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        request_of(*overrides)
    assert message in str(caught.value)


def test_ranks_do_not_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="srun set hydra/sweeper=basic hydra/launcher=basic"):
        request_of("seed=1,2")


def test_neither_torch_nor_optuna_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "optuna"):
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an error
    assert request_of("sweep=mlp_search").total == 60
