"""Searches in stacks that are killed, and gone on with, as scripts/crash_test.py does it."""

import random
import shutil
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from crash_rows.runner import References, check_end, start
from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.runs.directory import LAST
from mnist_lab.sweeps.records import Ledger

_SMALL = (
    "model=mlp model.hidden_dims=[16] trainer=cpu trainer.limit_train_batches=20 "
    "trainer.limit_val_batches=2 trainer.limit_test_batches=2 logger=csv ~callbacks.pictures "
    "hydra/launcher=fused hydra.sweeper.sampler=random"
)
_RATE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
SEARCHES = {
    "halving": [
        *f"{_SMALL} model.dropout=0.2 trainer.max_epochs=9 hydra.sweeper.n_trials=12".split(),
        *(_RATE, "hydra.sweeper.pruner=synchronous_halving"),
        "hydra.sweeper.pruner_options={min_resource:1,reduction_factor:3}",
    ],
    "hyperband": [
        *f"{_SMALL} model.batch_norm=true trainer.max_epochs=8 hydra.sweeper.n_trials=12".split(),
        *(_RATE, "hydra.sweeper.pruner=synchronous_halving"),
        "hydra.sweeper.pruner_options={min_resource:1,reduction_factor:2,brackets:2}",
    ],
    "population": [
        *f"{_SMALL} scheduler=none trainer.max_epochs=6 hydra.sweeper.n_trials=8".split(),
        *(_RATE, "model.dropout=choice(0.1,0.3)", "hydra.sweeper.pruner=population"),
    ],
}


class Search:
    """A search in a folder, whose process is started, killed and started again."""

    def __init__(self, folder: Path, kind: str, name: str) -> None:
        self.kind, self.folder, self.name = kind, folder, name
        self.output = folder / f"{name}.out"

    def start(self) -> BaseProcess:
        """Start the search, or go on with it, and wait until it has trials."""
        arguments = ["train", "-m", *SEARCHES[self.kind], f"hydra.sweep.dir={self.name}"]
        process = start(arguments, self.folder, {}, self.output)
        while process.is_alive() and not any((self.folder / self.name).glob("ledger/*.json")):
            time.sleep(0.01)
        return process

    def kill_within(self, seconds: float) -> bool:
        """Start, kill at a random instant of so many seconds; return whether it was killed."""
        process = self.start()
        process.join(random.uniform(0, seconds))
        process.kill()
        process.join()
        return process.exitcode == -9

    def finish(self) -> float:
        """Go on to the end, and return how many seconds its trials took.

        Raises:
            RuntimeError: it ended with an error.
        """
        process, before = self.start(), time.monotonic()
        check_end(process, self.output)
        return time.monotonic() - before

    def outcome(self) -> Mapping[int, Any]:
        """Return for each trial what was decided of it, and the hash of its last weights."""
        found = {}
        for record in Ledger(self.folder / self.name):
            run_dir = self.folder / self.name / str(record.directory)
            weights = sha256_of(read_checkpoint(run_dir / LAST)["state_dict"])
            decided = (record.state, record.params, record.report, record.values, record.error)
            rows = (run_dir / "metrics.csv").read_text().count("\n")
            found[record.number] = (*decided, weights, rows)
        return found


def searches(folder: Path, _: References, count: int) -> dict[str, Any]:
    """Kill searches in stacks at random instants, four times each; the decisions are the same."""
    expected, seconds = {}, {}
    for kind in SEARCHES:
        unbroken = Search(folder, kind, f"unbroken_{kind}")
        seconds[kind] = unbroken.finish()
        expected[kind] = unbroken.outcome()
    killed, problems, number = dict.fromkeys(SEARCHES, 0), [], 0
    while sum(killed.values()) < count:
        kind = list(SEARCHES)[number % len(SEARCHES)]
        search = Search(folder, kind, f"{kind}_{number}")
        left = min(4, count - sum(killed.values()))
        killed[kind] += sum(search.kill_within(seconds[kind] * 0.6) for _ in range(left))
        try:
            search.finish()
            found = search.outcome()
        except (RuntimeError, ValueError) as error:
            problems.append(str(error))
        else:
            if differ := [
                trial for trial in expected[kind] if expected[kind][trial] != found.get(trial)
            ]:
                problems.append(f"{search.name}: trials {differ}")
            if more := found.keys() - expected[kind].keys():
                problems.append(f"{search.name}: trials {sorted(more)} more")
        if not problems:
            shutil.rmtree(folder / search.name)
        number += 1
    return {"searches": number, "killed": killed, "different": len(problems), "problems": problems}
