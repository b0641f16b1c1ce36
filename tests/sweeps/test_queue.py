"""Trials of a sweep do not depend on when its process was killed, nor on how many share it."""

import itertools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial
from sweeping import TYPED_AGAIN

from mnist_lab.config.sweep_schema import Settings
from mnist_lab.errors import InputError, Pruned
from mnist_lab.runs.directory import LOCK, MANIFEST, hold
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps import study as study_module
from mnist_lab.sweeps.population import Population
from mnist_lab.sweeps.queue import Search
from mnist_lab.sweeps.records import Ledger, Record, Report
from mnist_lab.sweeps.space import parse_space
from mnist_lab.sweeps.study import Address, Study
from mnist_lab.sweeps.trial import Sweep, Trial

EPOCHS = 4
SEARCHED = ["lr=tag(log,interval(1e-4,1))", "width=int(interval(1,9))", "kind=choice(a,b,c)"]
LISTED = ["lr=1e-3,1e-2,1e-1", "kind=choice(a,b)"]
WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_system_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
)


class Killed(BaseException):
    """A process ends here."""


class Machine:
    """Processes of one sweep that are killed before a certain write, and its disk.

    Args:
        folder: the sweep's directory.
        options: of ``Settings``.
        size: trials in a batch.
        is_resumed: whether a run is resumed from its last epoch, or from its start.
    """

    def __init__(
        self, folder: Path, options: dict[str, Any], size: int = 1, is_resumed: bool = True
    ) -> None:
        self.settings = Settings(
            **{"params": {}, "sampler_options": {}, "pruner_options": {}} | options
        )
        self.space = parse_space(
            {},
            SEARCHED if self.settings.sampler != "grid" else LISTED,
            is_grid=self.settings.is_grid,
        )
        self.size, self.is_resumed = size, is_resumed
        self.total = self.settings.n_trials or len(self.space.grid())
        self.ledger = Ledger(folder)
        self.address = Address(
            "memory", "sweep", ("maximize",), self.settings.pruner, self.settings.pruner_options
        )
        self.storage = InMemoryStorage()
        self.writes_left = math.inf
        self.num_writes = 0
        self.epochs: dict[int, int] = {}  # that each run has behind it

    def write(self) -> None:
        if self.writes_left == 0:
            raise Killed
        self.writes_left -= 1
        self.num_writes += 1

    def process(self) -> None:
        """Work until the sweep is done."""
        study = Study(self.address)
        sweep = Sweep(self.ledger.sweep_dir, self.address, ("val/acc",))
        with self.ledger.owner() as owner:
            search = Search(
                study, self.ledger, self.settings, self.space, owner, "home", self.total
            )
            while batch := search.next_batch(self.size):
                for record in batch:
                    self.run(sweep, study, record)

    def run(self, sweep: Sweep, study: Study, record: Record) -> None:
        trial = Trial(sweep, study, Ledger(sweep.folder)[record.number])
        trial.start(sweep.folder / str(record.number))
        start = self.epochs.get(record.number, 0) if self.is_resumed else 0
        with trial.recorded():
            for epoch in range(start, EPOCHS):
                if trial.report(epoch, self.value(record, epoch), is_last=epoch == EPOCHS - 1):
                    trial.ended_early(Pruned(trial.reason))
                    return
                self.epochs[record.number] = epoch + 1
            if record.number == 2:
                trial.failed(RuntimeError("bad luck"))
                return
            loss = math.nan if record.number == 4 else 0.5
            trial.finished({"val/acc": self.value(record, EPOCHS), "val/loss": loss})

    @staticmethod
    def value(record: Record, epoch: int) -> float:
        good = {"a": 0.0, "b": 0.2, "c": 0.1}[record.params["kind"]]
        return good - abs(math.log10(float(record.params["lr"])) + 2) + epoch / 10

    def result(self) -> list[tuple[Any, ...]]:
        """Return what must not depend on when a process was killed."""
        found = []
        study = Study(self.address)
        for record, trial in zip(self.ledger, study.trials(), strict=True):
            found.append((record.params, record.state, record.values, record.error, record.report))
            found.append((trial.state, trial.values, trial.params, trial.intermediate_values))
            found.append((trial.system_attrs,))
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machine]]:
    """Makes machines whose writes are counted."""
    current: list[Machine] = []

    def build(*arguments: Any, **options: Any) -> Machine:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        current[:] = [Machine(folder, *arguments, **options)]
        return current[0]

    def opened(_: str) -> BaseStorage:
        return current[0].storage

    def counted(cls: type, name: str) -> None:
        original = getattr(cls, name)

        def write(self: Any, *arguments: Any, **options: Any) -> Any:
            if not current or self in (current[0].storage, current[0].ledger) or cls is Ledger:
                current[0].write()
            return original(self, *arguments, **options)

        monkeypatch.setattr(cls, name, write)

    monkeypatch.setattr(study_module, "open_storage", opened)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a thousand of them take minutes
    for name in WRITES:
        counted(InMemoryStorage, name)
    counted(Ledger, "write")
    return build


HALF = {"min_resource": 1, "reduction_factor": 2}
GRID: dict[str, Any] = {"sampler": "grid"}
TPE = {"sampler": "tpe", "n_trials": 8, "sampler_options": {"n_startup_trials": 3}}
HALVING = TPE | {"pruner": "successive_halving", "pruner_options": HALF}
MEDIAN = TPE | {"pruner": "median", "pruner_options": {"n_startup_trials": 2}}
HYPERBAND = TPE | {
    "pruner": "hyperband",
    "pruner_options": {"max_resource": EPOCHS, "reduction_factor": 2},
}
GP = TPE | {"sampler": "gp", "n_trials": 5, "sampler_options": {"n_startup_trials": 3}}
SLOW = [
    pytest.param(options, size, is_resumed, marks=pytest.mark.slow)
    for options in (GRID, TPE, HALVING, MEDIAN, HYPERBAND, GP)
    for size in (1, 3)
    for is_resumed in (True, False)
]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "size", "is_resumed"),
    [(GRID, 4, True), (TPE, 3, True), (HALVING, 1, False), *SLOW],
)
def test_killed_before_any_write(
    machine: Callable[..., Machine], options: dict[str, Any], size: int, is_resumed: bool
) -> None:
    alone = machine(options, size, is_resumed)
    alone.process()
    expected = alone.result()
    states = [record.state for record in alone.ledger]
    assert len(states) == alone.total
    assert set(states) <= {RunState.FINISHED, RunState.PRUNED, RunState.FAILED}
    assert RunState.PRUNED in states if "pruner" in options else RunState.FAILED in states
    for write in range(alone.num_writes):
        killed = machine(options, size, is_resumed)
        killed.writes_left = write
        with pytest.raises(Killed):
            killed.process()
        killed.writes_left = math.inf
        killed.process()
        assert killed.result() == expected, f"killed before write {write}"


def test_killed_again_and_again(machine: Callable[..., Machine]) -> None:
    options = HALVING | {"n_trials": 10}
    alone = machine(options, 2)
    alone.process()
    expected = alone.result()
    killed = machine(options, 2)
    for writes in range(3, 1000):
        killed.writes_left = writes % 13 + 3
        try:
            killed.process()
            break
        except Killed:
            pass
    killed.writes_left = math.inf
    assert killed.result() == expected


def test_two_processes_share_trials(machine: Callable[..., Machine]) -> None:
    shared = machine(TPE | {"n_trials": 9}, 2)
    study = Study(shared.address)
    sweep = Sweep(shared.ledger.sweep_dir, shared.address, ("val/acc",))
    seen = []
    with shared.ledger.owner() as one, shared.ledger.owner() as other:
        searches = [
            Search(study, shared.ledger, shared.settings, shared.space, owner, "home", 9)
            for owner in (one, other)
        ]
        while batches := [batch for search in searches if (batch := search.next_batch(2))]:
            for record in itertools.chain(*batches):
                seen.append(record.number)
                shared.run(sweep, study, record)
    assert sorted(seen) == list(range(9))


def test_who_is_alive_tells_of_its_own_trials(machine: Callable[..., Machine]) -> None:
    """Else two processes tell the same at the same time, which Optuna refuses one of them."""
    shared = machine(GRID)
    study = Study(shared.address)
    options = (study, shared.ledger, shared.settings, shared.space)
    with shared.ledger.owner() as other:
        with shared.ledger.owner() as owner:
            (record,) = Search(*options, owner, "home", shared.total).next_batch(1)
            record.state, record.values = RunState.FINISHED, [0.5]
            shared.ledger.write(record)
            search = Search(*options, other, "home", shared.total)
            search.next_batch(1)
            assert study.trials()[0].state == TrialState.RUNNING
        search.next_batch(1)
    assert study.trials()[0].state == TrialState.COMPLETE


def test_other_directories_share_trials(machine: Callable[..., Machine], tmp_path: Path) -> None:
    """They have no lock in common: who has asked for what another has asked for gives it back."""
    shared = machine(GRID | {"storage": "shared"})
    study = Study(shared.address)
    ledgers = [Ledger(tmp_path / name) for name in ("here", "there")]
    with ledgers[0].owner() as here, ledgers[1].owner() as there:
        searches = [
            Search(study, ledger, shared.settings, shared.space, owner, owner, shared.total)
            for ledger, owner in zip(ledgers, (here, there), strict=True)
        ]
        numbers: list[int] = []
        create = searches[0]._create

        def create_late(*arguments: Any, **attrs: Any) -> Record:
            for record in searches[1].next_batch(1):
                numbers.append(record.number)
                shared.run(Sweep(ledgers[1].sweep_dir, shared.address, ("val/acc",)), study, record)
            return create(*arguments, **attrs)

        searches[0]._create = create_late  # type: ignore[method-assign]
        numbers += [record.number for record in searches[0].next_batch(2)]
    assert sorted(numbers) == list(range(len(numbers)))
    surplus = [trial for trial in study.trials() if "is_surplus" in trial.user_attrs]
    assert [trial.state for trial in surplus] == [TrialState.FAIL] * len(surplus)
    assert surplus


def test_a_trial_that_kills_its_process_fails_in_the_end(machine: Callable[..., Machine]) -> None:
    """A launcher's own processes may die without a word."""
    sweep = machine(GRID, 6)
    study = Study(sweep.address)
    with sweep.ledger.owner() as owner:
        search = Search(study, sweep.ledger, sweep.settings, sweep.space, owner, "home", 6)
        place = Sweep(sweep.ledger.sweep_dir, sweep.address, ("val/acc",))
        given = []
        while batch := search.next_batch(6):
            given.append([record.number for record in batch])
            for record in batch:
                if record.number != 3:
                    sweep.run(place, study, record)
    assert given == [[0, 1, 2, 3, 4, 5], [3]]
    assert sweep.ledger[3].state == RunState.FAILED
    assert sweep.ledger[3].error == "its process ended without an error, 2 times"


def ends(sweep: Machine, steps: list[int], state: RunState) -> list[int]:
    """Have the process of trial 0 end again and again; return the numbers that were handed out.

    Args:
        sweep: the sweep.
        steps: what each start is resumed at, until one is trained to its end.
        state: that the process leaves the trial in.
    """
    study, home = Study(sweep.address), sweep.ledger.sweep_dir
    place, manifest = Sweep(home, sweep.address, ("val/acc",)), home / "0" / MANIFEST
    manifest.parent.mkdir()
    given = []
    with sweep.ledger.owner() as owner:
        search = Search(study, sweep.ledger, sweep.settings, sweep.space, owner, "home", 1)
        while batch := search.next_batch(1):
            (record,) = batch
            given.append(record.number)
            if not steps:
                sweep.run(place, study, record)
                continue
            attempts = json.loads(manifest.read_text())["attempts"] if manifest.exists() else []
            attempts.append({"from_step": steps.pop(0)})
            manifest.write_text(json.dumps({"attempts": attempts}))
            trial = Trial(place, study, sweep.ledger[0])
            trial.start(manifest.parent)
            if state == RunState.INTERRUPTED:
                trial.interrupted()
    return given


@pytest.mark.parametrize(
    ("steps", "state", "starts", "end"),
    [
        ([0, 400, 900, 1300], RunState.RUNNING, 5, RunState.FINISHED),
        ([0, 400, 400, 400], RunState.RUNNING, 3, RunState.FAILED),
        ([0, 0, 400], RunState.RUNNING, 2, RunState.FAILED),
        ([0, 0, 0, 400], RunState.INTERRUPTED, 5, RunState.FINISHED),
        ([0] * 20, RunState.INTERRUPTED, 10, RunState.FAILED),
        ([0] * 9 + [400] * 9 + [900], RunState.INTERRUPTED, 20, RunState.FINISHED),
    ],
)
def test_a_start_that_took_its_run_further_is_no_failure(
    steps: list[int],
    state: RunState,
    starts: int,
    end: RunState,
    machine: Callable[..., Machine],
) -> None:
    sweep = machine(GRID, 1)
    sweep.total = 1
    assert ends(sweep, steps, state) == [0] * starts
    assert sweep.ledger[0].state == end


def test_a_trial_that_is_interrupted_again_and_again_says_so(
    machine: Callable[..., Machine],
) -> None:
    """As by a time limit that is shorter than set-up, before the run's directory is written to."""
    sweep = machine(GRID, 1)
    sweep.total = 1
    ends(sweep, [7] * 20, RunState.INTERRUPTED)
    assert sweep.ledger[0].error == "was interrupted 10 times at step 7, without progress"


def test_trials_that_wait_for_one_that_is_interrupted_do_not_count(
    machine: Callable[..., Machine],
) -> None:
    rungs = {"pruner": "synchronous_halving", "pruner_options": HALF}
    sweep = machine(TPE | rungs | {"n_trials": 4}, 4)
    study, place = Study(sweep.address), Sweep(sweep.ledger.sweep_dir, sweep.address, ("val/acc",))
    with sweep.ledger.owner() as owner:
        search = Search(study, sweep.ledger, sweep.settings, sweep.space, owner, "home", 4)
        starts = 0
        while batch := search.next_batch(4):
            for record in batch:
                trial = Trial(place, study, sweep.ledger[record.number])
                manifest = place.folder / str(record.number) / MANIFEST
                manifest.parent.mkdir(exist_ok=True)
                manifest.write_text(json.dumps({"attempts": [{"from_step": 0}]}))
                trial.start(manifest.parent)
                if record.number == 0:
                    starts += 1
                    trial.interrupted()
                elif record.report is None:
                    trial.record.report = Report(0, 0.5)
                    trial.interrupted()
                else:
                    trial.finished({"val/acc": 0.5})
    assert starts == 10
    assert [record.state for record in sweep.ledger].count(RunState.FAILED) == 1
    assert sweep.ledger[0].state == RunState.FAILED
    assert RunState.FINISHED in [record.state for record in sweep.ledger]


def test_a_process_that_does_not_start_after_a_save_fails_in_the_end(
    machine: Callable[..., Machine],
) -> None:
    sweep = machine(GRID, 1)
    study, place = Study(sweep.address), Sweep(sweep.ledger.sweep_dir, sweep.address, ("val/acc",))
    with sweep.ledger.owner() as owner:
        search = Search(study, sweep.ledger, sweep.settings, sweep.space, owner, "home", 1)
        assert len(search.next_batch(1)) == 1
        trial = Trial(place, study, sweep.ledger[0])
        trial.start(place.folder / "0")
        trial.interrupted()
        given = 0
        while search.next_batch(1):
            given += 1
    assert given == 2
    assert sweep.ledger[0].state == RunState.FAILED


def test_a_trial_whose_directory_is_in_use_is_waited_for(machine: Callable[..., Machine]) -> None:
    """As by ``mnist-lab runs tag``, or by a process that a killed one has started."""
    sweep = machine(GRID)
    options = (Study(sweep.address), sweep.ledger, sweep.settings, sweep.space)
    with sweep.ledger.owner() as killed:
        (record,) = Search(*options, killed, "home", 1).next_batch(1)
    record.state, record.directory = RunState.INTERRUPTED, "0"
    sweep.ledger.write(record)
    run_dir, is_held = sweep.ledger.sweep_dir / "0", threading.Event()

    def hold_it() -> None:
        with hold(run_dir / LOCK, run_dir):
            is_held.set()
            time.sleep(0.5)

    thread = threading.Thread(target=hold_it)
    thread.start()
    is_held.wait()
    with sweep.ledger.owner() as owner:
        batch = Search(*options, owner, "home", 1).next_batch(1)
    thread.join()
    assert [record.number for record in batch] == [0]


def test_failed_trials_are_retried_on_request(machine: Callable[..., Machine]) -> None:
    sweep = machine(TPE)
    sweep.process()
    failed = [record.number for record in sweep.ledger if record.state == RunState.FAILED]
    assert failed == [2, 4]
    before = sweep.ledger[2]
    sweep.process()
    assert sweep.ledger[2] == before
    sweep.settings.retry_failed = True
    sweep.process()
    again = sweep.ledger[2]
    assert (again.params, again.attempts, again.trial) == (before.params, 2, 8)
    assert len(Study(sweep.address).trials()) == 10
    sweep.settings.retry_failed = False
    sweep.total = 10  # more trials, which come after those that were retried
    sweep.process()
    assert [record.number for record in sweep.ledger] == list(range(10))


def test_a_grid_goes_on_after_a_retry(machine: Callable[..., Machine]) -> None:
    sweep = machine(GRID)
    sweep.writes_left = 22
    with pytest.raises(Killed):
        sweep.process()
    assert 2 < len(sweep.ledger.numbers()) < sweep.total
    sweep.writes_left = math.inf
    sweep.settings.retry_failed = True
    sweep.process()
    assert [record.params for record in sweep.ledger] == sweep.space.grid()


def test_a_study_that_is_gone_is_missed(machine: Callable[..., Machine]) -> None:
    sweep = machine(GRID)
    sweep.process()
    sweep.storage = InMemoryStorage()
    with pytest.raises(InputError, match="lacks trials of which"):
        sweep.process()


@pytest.mark.parametrize("text", TYPED_AGAIN)
def test_what_is_typed_again_may_not_come_in_a_record(
    text: str, machine: Callable[..., Machine]
) -> None:
    sweep = machine(GRID)
    sweep.process()
    key, _, value = text.partition("=")
    record = sweep.ledger[0]
    changes = [record.params | {key: value}, record.params | {"kind": f"a {text}"}, {key: value}]
    for params in changes:
        sweep.ledger.write(replace(record, params=params))
        with pytest.raises(InputError, match=r"00000\.json: "):
            sweep.process()
    sweep.ledger.write(record)
    sweep.process()
    extra = create_trial(
        state=TrialState.RUNNING,
        params={key: value},
        distributions={key: CategoricalDistribution([value])},
        user_attrs={"home": "other", "number": 9},
    )
    Study(sweep.address).create(extra)
    with pytest.raises(InputError, match=r"^memory: trial 6: must have values of lr, kind alone$"):
        sweep.process()


def test_what_a_population_makes_may_come_in_a_record(machine: Callable[..., Machine]) -> None:
    sweep = machine(TPE)
    sweep.process()
    records = [replace(record, report=Report(0, float(record.number))) for record in sweep.ledger]
    for exploit in Population(1, 0.5).exploits(records, 1, sweep.space, 0):
        loser = replace(exploit.loser, params=exploit.lineage[-1].params)
        sweep.ledger.write(loser)
    sweep.process()


@pytest.mark.parametrize("values", [[0.5, 0.5], [0.1] * 3])
def test_results_are_as_many_as_objectives(
    values: list[float], machine: Callable[..., Machine]
) -> None:
    sweep = machine(GRID)
    sweep.process()
    sweep.ledger.write(replace(sweep.ledger[0], values=values))
    with pytest.raises(InputError, match=r"00000\.json: values: must have 1 number$"):
        sweep.process()
