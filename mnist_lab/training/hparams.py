"""The HParams tab and the config text in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

METRICS = ("best/val/acc", "best/val/loss", "test/acc", "test/loss")
GROUPS = ("model", "data", "optimizer", "scheduler", "trainer", "seed")
_PLACES = ("data.root", "trainer.default_root_dir")  # where, which is no hyperparameter


def log_config(logger: TensorBoardLogger, settings: Mapping[str, Any], text: str) -> None:
    """Log a run's settings as hyperparameters and as text.

    The HParams tab shows the scalars of the tags that are named here as the run's metrics, so that
    it fills itself while the run goes on, and no metric has to be logged twice.

    Args:
        logger: where to.
        settings: the resolved config, nested.
        text: the resolved config as YAML.
    """
    from torch.utils.tensorboard.summary import hparams

    writer = logger.experiment.file_writer
    assert writer is not None
    chosen = _flatten({name: settings[name] for name in GROUPS})
    summaries = hparams(chosen, dict.fromkeys(METRICS, 0.0))  # type: ignore[no-untyped-call]
    for summary in summaries:
        writer.add_summary(summary)
    indented = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown for code
    logger.experiment.add_text("config", indented)


def log_best(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Log the validation metrics of the best checkpoint, beside the curves of all epochs."""
    best = {f"best/{name}": metrics[name] for name in ("val/acc", "val/loss") if name in metrics}
    for logger in trainer.loggers if best else []:
        logger.log_metrics(best, trainer.global_step)
        logger.finalize("success")


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings that were chosen, keyed with dots, as numbers, truths and strings."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{key}.")
        elif name == "_target_":
            flat[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif value is not None and key not in _PLACES:
            flat[key] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
