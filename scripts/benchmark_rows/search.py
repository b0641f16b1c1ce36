"""The best that a search over ``sweep=mlp_search`` finds on validation, and what that takes."""

import json
import random
import statistics
from typing import Any

from benchmark_rows import commands
from benchmark_rows.catalog import Job
from benchmark_rows.commands import Finished, mnist_lab

_TRIALS = 4  # of a search, for each trial of a sweep row: 256 in full
_EPOCHS = 12  # of a trial that goes to its end
_DRAWS = 5


def to_the_end(job: Job) -> dict[str, Any]:
    """Train random trials to their end as one program, once.

    The figure is the mean of the best of as many as a search has, drawn several times from a pool
    that is larger by a quarter; its seconds are the share of the pool's.
    """
    if job.repeat:
        return {"skipped": "the pool is trained once"}
    count = job.size.trials * _TRIALS
    trials, finished = _search(job, count * 5 // 4, "fused")
    values = [_value(trial) for trial in trials]
    draw = random.Random(0)
    best = [max(draw.sample(values, count)) for _ in range(_DRAWS)]
    share = count / len(trials)
    return _result(statistics.fmean(best), trials, finished, share) | {"best": best}


def halved(job: Job) -> dict[str, Any]:
    """Search by synchronous halving as one program; a repeat stands for a study's seed.

    After one epoch one trial in sixteen goes on, which takes a seventh of the epochs of all.
    """
    pruner = ["hydra.sweeper.pruner=synchronous_halving"]
    pruner += ["hydra.sweeper.pruner_options={reduction_factor: 16}"]
    count = job.size.trials * _TRIALS
    trials, finished = _search(job, count, "fused", *pruner, f"hydra.sweeper.seed={job.repeat + 1}")
    return _result(max(map(_value, trials)), trials, finished)


def basic(job: Job) -> dict[str, Any]:
    """Train random trials one after the other, a tenth of a search's; seconds are scaled up."""
    if job.repeat:
        return {"skipped": "the trials are trained once"}
    count = job.size.trials * _TRIALS
    trials, finished = _search(job, max(2, count * 3 // 32), "basic")
    result = _result(max(map(_value, trials)), trials, finished, count / len(trials))
    return result | {"note": f"from {len(trials)} trials"}


def _search(
    job: Job, count: int, launcher: str, *overrides: str
) -> tuple[list[dict[str, Any]], Finished]:
    limits = [] if job.size.mlp_share == 1 else ["trainer.limit_train_batches=10"]
    finished = commands.run(
        [
            *(*mnist_lab(), "train", "-m", "sweep=mlp_search", f"hydra/launcher={launcher}"),
            *("hydra.sweeper.sampler=random", "hydra.sweeper.pruner=none"),
            *(f"hydra.sweeper.n_trials={count}", f"trainer.max_epochs={_EPOCHS}"),
            *(*limits, *overrides, "hydra.sweep.dir=sweep"),
        ],
        job.folder,
    )
    board = json.loads((job.folder / "sweep" / "leaderboard.json").read_text(encoding="utf-8"))
    trials: list[dict[str, Any]] = board["trials"]
    if len(trials) != count or any(not trial["values"] for trial in trials):
        raise RuntimeError(f"{len(trials)} of {count} trials have a value")
    return trials, finished


def _value(trial: dict[str, Any]) -> float:
    return float(trial["values"][0])


def _result(
    figure: float, trials: list[dict[str, Any]], finished: Finished, share: float = 1.0
) -> dict[str, Any]:
    """Return a row's result; ``share`` is by what the seconds are scaled."""
    epochs = sum(
        trial["report"]["epoch"] + 1 if trial["state"] == "pruned" else trial["metrics"]["epochs"]
        for trial in trials
    )
    return {
        "figure": figure,
        "epochs": epochs / (len(trials) * _EPOCHS),
        "seconds": finished.seconds * share,
        "peak_mb": finished.peak_mb,
    }
