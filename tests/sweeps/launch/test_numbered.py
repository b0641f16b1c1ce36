"""Trials of any numbers are launched at once; Hydra's own call numbers them from the first."""

from collections.abc import Sequence

from mnist_lab.sweeps.launch.numbered import NumberedLauncher


class Noted(NumberedLauncher):
    """Notes what it is to run."""

    def launch_trials(self, numbers: Sequence[int], overrides: Sequence[Sequence[str]]) -> None:
        self.trials = dict(zip(numbers, overrides, strict=True))


def test_hydras_call_numbers_trials_from_the_first() -> None:
    launcher = Noted()
    assert launcher.launch([["a=1"], ["a=2"]], 7) == []
    assert launcher.trials == {7: ["a=1"], 8: ["a=2"]}
