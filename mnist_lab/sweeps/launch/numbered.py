"""Launching of any of a sweep's trials at once; Hydra itself numbers jobs one after the other."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn

from mnist_lab.config.hydra_internals import BasicLauncher


class NumberedLauncher(BasicLauncher):
    """A launcher of the lab's, which may get trials whose numbers do not adjoin."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run trials whose numbers follow the first one's; each leaves its result in its record."""
        self.launch_trials(
            range(initial_job_idx, initial_job_idx + len(job_overrides)), job_overrides
        )
        return []

    @abstractmethod
    def launch_trials(self, numbers: Sequence[int], overrides: Sequence[Sequence[str]]) -> Any:
        """Run trials; each leaves its result in its record."""
