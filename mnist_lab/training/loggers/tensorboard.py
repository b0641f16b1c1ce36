"""Lightning's logger to TensorBoard: curves come first, and single values are no curves."""

from collections.abc import Mapping

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from mnist_lab.files.tensorboard import tag_of


class TensorBoard(TensorBoardLogger):
    """Logs to event files in the run's directory.

    What a run has once, at its end, stands behind the curves, under ``z_result/``; as the HParams
    tab reads its metrics from scalars, it cannot be left out. Lightning's ``epoch`` beside each
    point, which is no curve of a run, is left out.
    """

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        named = {tag_of(name): value for name, value in metrics.items() if name != "epoch"}
        if named:
            super().log_metrics(named, step)

    @override
    @rank_zero_only
    def save(self) -> None:
        """Flush, and write ``hparams.yaml`` only where a model logs some: the lab's log none."""
        if self.hparams:
            super().save()
        else:
            self.experiment.flush()
