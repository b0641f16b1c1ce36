"""Schema of the whole config, and of each group by the names of its choices.

A schema has type, range, unit and meaning of each knob; conf/ chooses the values. A field's default
holds where no file in conf/ sets another.
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from mnist_lab.config.callback_schema import CALLBACKS
from mnist_lab.config.knob import knob
from mnist_lab.config.model_schema import MODELS, Data, Module
from mnist_lab.config.optimizer_schema import OPTIMIZERS, SCHEDULERS
from mnist_lab.config.trainer_schema import Trainer
from mnist_lab.data.sets import MAX_SEED


@dataclass
class Train:
    """One run."""

    model: Any = MISSING
    data: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    logger: Any = None
    callbacks: Any = None
    metrics: Any = None
    seed: int = knob(0, "seeds weights, order, dropout and augmentation", low=0, high=MAX_SEED)
    monitor: str = knob("val/acc", "metric that chooses the best checkpoint")
    mode: str = knob(
        "${best_mode:${monitor}}",
        "whether more or less of it is better; min for a loss, as its class says for one of "
        "metrics=, else max",
        choices=("max", "min"),
    )
    protocol: str = knob(
        "open",
        "sealed reads the test images once, at the end of a run and never in a sweep's trials, and "
        "the manifest counts each reading",
        choices=("open", "sealed"),
    )
    init_from: str | None = knob(
        None, "a run's directory, or a checkpoint, whose weights training begins with"
    )
    freeze: list[str] | None = knob(
        None, "names of modules that are not trained, such as [net.1] or [net.*]"
    )
    threads: Any = knob(
        "auto",
        "of the CPU; auto is OMP_NUM_THREADS where it is set, else all cores that the run may use",
        number=int,
        words=("auto",),
        low=1,
        high=1024,
    )
    bits: str | None = knob(
        None,
        "portable gives softmax and MLPs the same weights on every x86 processor of a maker",
        choices=("portable",),
    )
    name: str | None = knob(None, "a word for the run's or sweep's directory, beside its time")
    tags: list[str] | None = knob(
        None, "words to find it by, such as [paper,baseline]; mnist-lab runs tag gives others"
    )
    note: str | None = knob(None, "a text about it; mnist-lab runs note gives another")
    allow_targets: list[str] = knob(
        [], "prefixes of your own _target_s that may be built, such as [my_package.]"
    )
    run_dir: str | None = knob(
        "${hydra:runtime.output_dir}", "the run's directory; set hydra.run.dir"
    )


SCHEMAS: dict[str, dict[str, type[Any]]] = {
    "model": MODELS,
    "data": {"data": Data},
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
    "trainer": {"trainer": Trainer},
    "callbacks": CALLBACKS,
}


def typed_node(schema: type[Any]) -> DictConfig:
    """Return a node of a schema; where arguments of another's class stand, it takes new keys."""
    node: DictConfig = OmegaConf.structured(schema)
    if getattr(schema, "takes_any", False):
        OmegaConf.set_struct(node, False)
    elif schema is Module:
        OmegaConf.set_struct(node.net, False)
    return node


def key_prefix(group: str, name: str) -> str:
    """Return what comes before a schema's knobs on the command line, with its dot."""
    return f"callbacks.{name}." if group == "callbacks" else f"{group}."
