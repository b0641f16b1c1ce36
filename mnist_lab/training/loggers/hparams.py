"""The HParams tab and the config text in TensorBoard."""

from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.saved import portable
from mnist_lab.errors import printable
from mnist_lab.files.tensorboard import as_code, tag_of
from mnist_lab.runs.labels import LABELS
from mnist_lab.runs.manifest import flat

METRICS = ("best/val/acc", "best/val/loss", "test/acc", "test/loss")
GROUPS = ("model", "data", "optimizer", "scheduler", "trainer", "seed", *LABELS)
_SHOWN = ("data.batch_size", "model", "optimizer.lr", "seed", "tags")  # what people vary
_PATHS = ("data.root", "trainer.default_root_dir")  # which are no hyperparameters


def log_config(loggers: Iterable[Logger], config: DictConfig, tests: bool = True) -> None:
    """Log a run's settings as hyperparameters and as text, where a logger is TensorBoard's.

    The HParams tab shows the scalars of these tags as the run's metrics, so that it
    fills itself during the run, and no metric is logged twice. ``tests`` says whether the run will
    have metrics of the test images.
    """
    from torch.utils.tensorboard.summary import hparams

    added = config.get("metrics") or {}
    names = [*METRICS, *(f"{split}/{name}" for name in added for split in ("best/val", "test"))]
    names = [name for name in names if tests or not name.startswith("test/")]
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            continue
        writer = logger.experiment.file_writer
        assert writer is not None
        settings = {"tags": "", **settings_of(config)}  # the first run's are the tab's columns
        experiment, *others = hparams(settings, dict.fromkeys(names, 0.0))  # type: ignore[no-untyped-call]
        _arrange(experiment)
        for summary in (experiment, *others):
            writer.add_summary(summary)
        logger.experiment.add_text("config", as_code(portable(config)))


def _arrange(experiment: Any) -> None:
    """Have the HParams tab begin with what people vary, and find metrics by their tags.

    It shows five hyperparameters unless asked for more: those that are said to differ, by name.
    """
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    plugin_data = experiment.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin_data.content)
    for setting in content.experiment.hparam_infos:
        setting.differs = setting.name in _SHOWN
    for metric in content.experiment.metric_infos:
        metric.display_name = metric.name.tag
        metric.name.tag = tag_of(metric.name.tag)
    plugin_data.content = content.SerializeToString()


def log_best(loggers: Iterable[Logger], metrics: Mapping[str, float]) -> None:
    """Log the validation metrics of the best checkpoint, beside the curves of all epochs."""
    best = {f"best/{name}": metrics[name] for name in metrics if name.startswith("val/")}
    for logger in loggers if best else []:
        logger.log_metrics(best, int(metrics["steps"]))
        logger.finalize("success")


def settings_of(config: DictConfig) -> dict[str, bool | int | float | str]:
    """Return the settings that are not null, by dotted key; a target by its class's name."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    settings: dict[str, bool | int | float | str] = {}
    plain["tags"] = " ".join(dict.fromkeys(plain.get("tags") or ())) or None
    for key, value in flat({name: plain.get(name) for name in GROUPS}).items():
        if key.endswith("._target_"):
            settings[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif value is not None and value != {} and key not in _PATHS:
            is_number = isinstance(value, bool | int | float)
            settings[key] = value if is_number else printable(str(value))
    return settings
