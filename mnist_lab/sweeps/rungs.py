"""Trials wait at a rung for one another, until halving.py or population.py decides over them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnist_lab.errors import LabError
from mnist_lab.runs import directory
from mnist_lab.runs.manifest import RunState, update_manifest
from mnist_lab.sweeps.halving import SynchronousHalving
from mnist_lab.sweeps.inheritance import settings_of
from mnist_lab.sweeps.population import Exploit, Population
from mnist_lab.sweeps.records import Ledger, Record, Report
from mnist_lab.sweeps.space import Space
from mnist_lab.sweeps.study import Study


@dataclass
class Rungs:
    """The rungs of a sweep, whose trials one process has all at once.

    Args:
        pruner: says where they are, and who is kept or copied there.
        study: the Optuna study.
        ledger: the records.
        space: the search space.
        seed: of the sweep.
        total: number of trials in the sweep.
    """

    pruner: SynchronousHalving | Population
    study: Study
    ledger: Ledger
    space: Space
    seed: int
    total: int

    def go_on(self, left: Sequence[Record]) -> list[Record]:
        """Return the trials that have come least far; where all wait at one rung, those that go on.

        Raises:
            LabError: a run's directory cannot be read or written.
        """
        brackets: dict[int, list[Record]] = {}  # trials that wait for one another
        for record in left:
            brackets.setdefault(self.pruner.bracket_of(record.number), []).append(record)
        for waiting in brackets.values():
            epochs = {record.epochs for record in waiting}
            if len(epochs) == 1 and 0 not in epochs:
                self._decide(waiting)
        left = [record for record in left if not record.is_final]
        lowest = min((record.epochs for record in left), default=0)
        return [record for record in left if record.epochs == lowest]

    def _decide(self, waiting: Sequence[Record]) -> None:
        sign = 1 if self.study.address.directions[0] == "maximize" else -1
        if isinstance(self.pruner, SynchronousHalving):
            for record in self.pruner.losers(waiting, self.total, sign):
                self._prune(record)
            return
        if not self._has_been_left(waiting[0]):
            for exploit in self.pruner.exploits(waiting, sign, self.space, self.seed):
                self._exploit(exploit)

    def _has_been_left(self, waiting: Record) -> bool:
        """Return whether a trial has ended since it waited at a rung, which was decided then."""
        return any(record.is_final and record.epochs == waiting.epochs for record in self.ledger)

    def _prune(self, record: Record) -> None:
        """End a trial that waits."""
        assert record.report is not None
        value = record.report.value
        record.state, record.ended, record.values = RunState.PRUNED, directory.now(), [value]
        record.error = f"pruned after epoch {record.report.epoch + 1} with {value:.4g}"
        update_manifest(self._run_dir(record), state=record.state, error=record.error)
        self.ledger.write(record)
        self.study.settle(record)

    def _exploit(self, exploit: Exploit) -> None:
        """Have a trial go on as another one, with other values, unless it is to do so already.

        The record says it last: a sweep that is killed before does all of it again, and no trial
        trains before all have been dealt with.
        """
        from mnist_lab.training.checkpoints.inherit import inherit  # torch takes seconds to import

        loser, phase = exploit.loser, exploit.lineage[-1]
        if loser.lineage and loser.lineage[-1].epoch == phase.epoch:
            return
        inherit(
            self._run_dir(loser),
            self._run_dir(exploit.winner),
            phase.epoch,
            settings_of(exploit.lineage),
            lineage=[asdict(phase) for phase in exploit.lineage],
        )
        loser.lineage, loser.params = exploit.lineage, phase.params
        self.ledger.write(loser)

    def take_up(self, record: Record) -> None:
        """Record that a trial waits whose process ended between its checkpoint and its report."""
        from mnist_lab.training.checkpoints.inherit import (
            measured_at,
        )  # torch takes seconds to import

        if record.directory is None:
            return
        try:
            measured = measured_at(self._run_dir(record))
        except LabError:  # which says more where the run is resumed
            return
        rung = self.pruner.next_rung(record.epochs, record.number)
        if measured is not None and measured[0] == rung:
            record.report = Report(measured[0] - 1, measured[1])

    def _run_dir(self, record: Record) -> Path:
        assert record.directory is not None
        return self.ledger.sweep_dir / record.directory
