"""A run has the observer of its context, and no other."""

import lightning as L

from mnist_lab.training.observer import Observer, current_observer, observed_by


class Watcher(Observer):
    def callbacks(self, monitor: str) -> list[L.Callback]:
        return [L.Callback()]


def test_an_observer_is_of_what_runs_within() -> None:
    first, second = Watcher(), Watcher()
    assert current_observer() is None
    with observed_by(first):
        with observed_by(second):
            assert current_observer() is second
        assert current_observer() is first
    assert current_observer() is None
