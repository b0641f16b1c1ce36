"""Names that are typed out of habit."""

import pytest

from mnist_lab.config.other_names import hint


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("ckpt_path", "mnist-lab resume RUN"),
        ("data.num_workers", "there are no workers"),
        ("paths.output_dir", "hydra.run.dir=DIR"),
        ("paths.log.dir", "hydra.run.dir=DIR"),
        ("hydra/launcher=joblib", "hydra/launcher=parallel"),
        ("trainer=default", "trainer=auto"),
        ("trainer=ddp_sim", "trainer=ddp_cpu"),
        ("logger=false", "logger=none"),
        ("callbacks=false", "callbacks=none"),
        ("early_stopping", "callbacks=early_stopping"),
        ("hydra.sweeper.direction", "mode=max"),
        ("hydra.sweeper.n_jobs", "hydra/launcher=parallel"),
        ("callbacks=rich_progress_bar", "the default has checkpoints, progress"),
    ],
)
def test_a_known_name_is_explained(key: str, words: str) -> None:
    assert words in hint(key)


@pytest.mark.parametrize("key", ["modle", "model.hidden", "data.tset", "seed", "train.max_epochs"])
def test_any_other_is_not(key: str) -> None:
    assert hint(key) == ""
