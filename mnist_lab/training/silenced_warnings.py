"""Messages of Lightning's and torch's that nobody can act on, left out of the log."""

import logging
import warnings

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
_NOISE = (
    "`isinstance\\(treespec, LeafSpec\\)`",
    "Attribute '.*' is an instance of `nn.Module`",  # a hyperparameter that no checkpoint holds
    "Checkpoint directory",  # of a ModelCheckpoint that one adds
    "Encountered `nan` values in tensor",  # of a run that diverged, which is reported at its end
    "Metric `.*` will save all targets",  # of a split, which is small
    "Experiment logs directory",  # the run's own, whose rows are kept
    "SWA is currently only supported every epoch",  # of the schedule that it takes the place of
    "The number of training batches",
    "You are trying to `self.log\\(\\)` but `Trainer\\(barebones=True\\)`",  # which is its point
    "The `srun` command is available",  # on every SLURM machine, where one run needs none
    "Precision bf16-mixed is not supported by the model summary",
)


def ignore_noise() -> None:
    """Ignore these warnings from here on."""
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
