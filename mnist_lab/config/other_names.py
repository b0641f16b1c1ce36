"""What is meant by names that users of Lightning or lightning-hydra-template type out of habit."""

_TEST = "a run is tested at its end; trainer.limit_test_batches=0 leaves that out"
_MEMORY = "there are no workers: images are in memory, and batches are gathered whole"
_DEVICES = "trainer=gpu is one GPU, trainer=ddp all of a machine"
_STOPPING = "callbacks=early_stopping, then callbacks.early_stopping.patience=N"
_CHECKPOINT = "mnist-lab resume RUN goes on with a run, and init_from=RUN begins with its weights"
_CALLBACKS = "the default has checkpoints, progress and pictures"
_SEARCH = "sweep=mlp_search with -m is a search; one of your own is a file of a folder sweep"
_BY_NAME = {
    "ckpt_path": _CHECKPOINT,
    "resume_from_checkpoint": _CHECKPOINT,
    "data_dir": "data.root=DIR is the folder of a set's files",
    "num_workers": _MEMORY,
    "pin_memory": _MEMORY,
    "persistent_workers": _MEMORY,
    "gpus": _DEVICES,
    "num_gpus": _DEVICES,
    "compile": "a step is not compiled; docs/speed.md says what makes it fast",
}
_BY_KEY = {
    "test": _TEST,
    "train": "mnist-lab evaluate RUN tests without training",
    "debug": "trainer.fast_dev_run=true runs a batch of each part, trainer.overfit_batches=N a few",
    "hparams_search": _SEARCH,
    "early_stopping": _STOPPING,
    "patience": _STOPPING,
    "optimized_metric": "monitor=val/acc mode=max is what runs and searches are judged by",
    "hydra.sweeper.direction": "mode=max or mode=min",
    "hydra.sweeper.n_jobs": "hydra/launcher=parallel has processes of one machine",
    "task_name": "name=NAME is part of the directory's name",
    "datamodule": "data=mnist chooses a set",
    "hydra/sweeper=optuna": "hydra/sweeper=study, the default, searches with Optuna",
    "hydra/launcher=joblib": "hydra/launcher=parallel has processes of one machine",
    "hydra/launcher=submitit_local": "hydra/launcher=parallel has processes of one machine",
    "hydra/launcher=submitit_slurm": "hydra/launcher=slurm hands jobs to SLURM",
    "trainer=default": "trainer=auto, the default, is a GPU where there is one",
    "trainer=ddp_sim": "trainer=ddp_cpu has several processes on a CPU",
    "logger=false": "logger=none has none",
    "callbacks=false": "callbacks=none has none",
    "logger=many_loggers": "logger=many has several",
    "callbacks=many_callbacks": _CALLBACKS,
    "callbacks=model_checkpoint": _CALLBACKS,
    "callbacks=model_summary": _CALLBACKS,
    "callbacks=rich_progress_bar": _CALLBACKS,
}
_BY_GROUP = {
    "extras": "mnist-lab train --cfg job prints the config, and tags=[a,b] are a run's",
    "paths": "hydra.run.dir=DIR is the directory of a run, hydra.sweep.dir=DIR that of a sweep, "
    "and ${run_dir} stands for it in a file",
}


def hint(key: str) -> str:
    """Return in a clause what an unknown key, or ``group=option``, is here; empty if unknown."""
    group, name = key.partition(".")[0], key.rpartition(".")[2]
    return _BY_KEY.get(key) or _BY_NAME.get(name) or _BY_GROUP.get(group, "")
