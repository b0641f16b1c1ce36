"""Schema of the trainer group."""

from dataclasses import dataclass
from typing import Any

from mnist_lab.config.knob import knob

PRECISIONS = (
    *("auto", "32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true"),
    *("32", "bf16", "16", "64", "transformer-engine", "transformer-engine-float16"),
)


def _batches(use: str) -> Any:
    text = f"batches (int) or share (float) {use}"
    return knob(None, text, number=float, low=0, share=True)


@dataclass
class Trainer:
    """The arguments of lightning.Trainer; null is Lightning's own default."""

    _target_: str = "lightning.Trainer"
    accelerator: str | None = knob(
        None, "auto, cpu, gpu, cuda or mps", choices=("auto", "cpu", "gpu", "cuda", "mps")
    )
    strategy: Any = knob(None, "how devices share the work: auto, ddp, ...")
    devices: Any = knob(None, "number of devices, list of their indices, or auto")
    num_nodes: int | None = knob(None, "machines that share the run", low=1)
    precision: Any = knob(
        "auto",
        "auto is bf16-mixed where the model gains by it and the hardware has it, else 32-true",
        choices=PRECISIONS,
    )
    logger: Any = knob(None, "false turns the logger group off; a node, or a list, replaces it")
    callbacks: Any = knob(None, "a list of nodes, besides those of the callbacks group")
    fast_dev_run: Any = knob(
        None,
        "true runs one batch of everything, a number so many; no checkpoint, in no leaderboard",
        number=int,
        low=0,
        words=(True, False),
    )
    max_epochs: int | None = knob(None, "epochs; -1 is no limit", low=-1)
    min_epochs: int | None = knob(None, "epochs before an early stop", low=0)
    max_steps: int | None = knob(None, "optimizer steps; -1 is no limit", low=-1)
    min_steps: int | None = knob(None, "steps before an early stop", low=0)
    max_time: Any = knob(None, "longest time, DD:HH:MM:SS")
    limit_train_batches: Any = _batches("of a training epoch")
    limit_val_batches: Any = _batches("of validation")
    limit_test_batches: Any = _batches("of test")
    limit_predict_batches: Any = _batches("of predict")
    overfit_batches: Any = _batches("to overfit on")
    val_check_interval: Any = knob(
        None,
        "validate after so many batches (int), share (float) or time (DD:HH:MM:SS)",
        above=0,
        share=True,
    )
    check_val_every_n_epoch: int | None = knob(
        1, "validate after every n-th epoch; null counts val_check_interval across epochs", low=1
    )
    num_sanity_val_steps: int | None = knob(None, "validation batches before training", low=-1)
    log_every_n_steps: int | None = knob(None, "steps between logged values", low=0)
    enable_checkpointing: bool | None = knob(None, "false keeps no checkpoint")
    enable_progress_bar: bool | None = knob(None, "false shows no progress")
    enable_model_summary: bool | None = knob(None, "false shows no table of layers")
    accumulate_grad_batches: int | None = knob(None, "batches in an optimizer step", low=1)
    gradient_clip_val: float | None = knob(None, "largest gradient norm", low=0)
    gradient_clip_algorithm: str | None = knob(None, "norm or value", choices=("norm", "value"))
    deterministic: Any = knob(
        None, "true, false or warn: deterministic algorithms only", words=(True, False, "warn")
    )
    benchmark: bool | None = knob(None, "true lets cuDNN measure its algorithms")
    inference_mode: bool | None = knob(None, "false evaluates under no_grad instead")
    use_distributed_sampler: bool | None = knob(None, "for loaders other than the lab's")
    profiler: Any = knob(None, "simple, advanced, pytorch, or a node with a _target_")
    detect_anomaly: bool | None = knob(None, "true finds the operation that made a NaN")
    barebones: bool | None = knob(None, "true turns all but training off, to measure it")
    plugins: Any = knob(None, "a node with a _target_, or a list of them")
    sync_batchnorm: bool | None = knob(None, "true shares batch norm statistics on GPUs")
    reload_dataloaders_every_n_epochs: int | None = knob(None, "Lightning's own", low=0)
    default_root_dir: str | None = knob("${run_dir}", "the run's directory; set hydra.run.dir")
    enable_autolog_hparams: bool | None = knob(None, "Lightning's own")
    model_registry: str | None = knob(None, "Lightning's own")
