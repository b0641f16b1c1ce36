"""Values of groups that are no names: null chooses nothing, the rest is one line."""

import shlex
from pathlib import Path

import pytest
from door import main

from mnist_lab.config.compose import Loader

NOTHING = {
    "logger=null": "logger",
    "callbacks=null": "callbacks",
    "logger=NULL": "logger",
    "logger=[null]": "logger",
    "callbacks=[null]": "callbacks",
    "logger=[none,null]": "logger",
}
NO_RECIPE = ["experiment=null", "sweep=null", "+experiment=null", "experiment=[]", "~experiment"]
MODELS = "cnn, global_pool_cnn, mlp, module, softmax"
# command: words of its one line
REFUSED = {
    "experiment=2": "experiment=2: must be one of cnn, keras_dense",
    "experiment=true": "experiment=true: must be one of cnn",
    "experiment=[cnn,null]": "experiment=[cnn,null]: must be one of cnn",
    "experiment=[[cnn]]": "must be one of cnn",
    "sweep=0.5": "sweep=0.5: must be one of lr",
    "model=true": "model=true: must be one of " + MODELS,
    "model=null": "model=null: must be one of " + MODELS,
    "model=1": "model=1: must be one of " + MODELS,
    "model=-1": "model=-1: must be one of " + MODELS,
    "model=1e3": "must be one of " + MODELS,
    "model=nan": "model=nan: must be one of " + MODELS,
    "model=[mlp,null]": "model=[mlp,null]: must be one of " + MODELS,
    "model=[null]": "model=[null]: must be one of " + MODELS,
    "model=[1,2]": "must be one of " + MODELS,
    "model=[{a:1}]": "must be one of " + MODELS,
    "model={a:1}": "model.a: no such key; mnist-lab train --help",
    "logger={a:1}": "logger.a: no such key; mnist-lab train --help",
    "trainer=null": "trainer=null: must be one of auto, cpu",
    "trainer=3": "trainer=3: must be one of auto, cpu",
    "data=null": "data=null: must be one of arrays, emnist, fashion_mnist, folder, kmnist",
    "optimizer=0.1": "optimizer=0.1: must be one of adam, adamw, nadam, own, rmsprop, sgd",
    "optimizer=null": "optimizer=null: must be one of adam, adamw, nadam, own, rmsprop, sgd",
    "scheduler=1": "scheduler=1: must be one of cosine",
    "callbacks=false": "callbacks=false: must be one of default",
    "+logger=null": "+logger: is there already; leave out the +",
    "++logger=null": "force-add of config groups is not supported",
    "~experiment=2": "experiment: has another value; ~experiment",
    "~seed=1": "seed: has another value; ~seed",
    "hydra=null": "hydra=null: must be one of",
    "hydra/launcher=null": "hydra/launcher=null: must be one of basic, fused, parallel, ray, slurm",
    "hydra/launcher=3": "hydra/launcher=3: must be one of basic, fused, parallel, ray, slurm",
    "hydra/sweeper=null": "hydra/sweeper=null: must be one of basic, lr_range, study",
    "hydra/output=null": "hydra/output=null: must be one of default",
    "hydra.verbose=3": "hydra.verbose=3: must be true or false, or names of loggers",
    "hydra.verbose=null": "hydra.verbose=null: must be true or false, or names of loggers",
    "model@x=null": "model@x=null: must be one of " + MODELS,
    "=3": "=3: must be KEY=VALUE",
    "+=1": "+=1: must be KEY=VALUE",
    "~": "~: must be KEY=VALUE",
    "allow_targets=null": "allow_targets=null: must be a list of names",
    "allow_targets=[1]": "allow_targets=[1]: must be a list of names",
    "allow_targets=[null]": "allow_targets=[null]: must be a list of names",
    "-m hydra/launcher=null seed=1": "hydra/launcher=null: must be one of basic, fused",
    "-m model=mlp,null": "model=mlp,null: must be one of " + MODELS,
    "-m model=1,2": "model=1: must be one of " + MODELS,
    "-m model=true,mlp": "model=true: must be one of " + MODELS,
    "-m 'model=range(3)'": "model=0: must be one of " + MODELS,
    "-m 'model=[mlp,null],cnn'": "model=[mlp,null],cnn: must be one of " + MODELS,
    "-m 'model={a:1},cnn'": "model={a:1},cnn: must be one of " + MODELS,
    "-m hydra.launcher=null seed=1": "hydra.launcher: must be chosen, one of basic, fused",
    "-m hydra.sweeper=null seed=1": "hydra.sweeper: must be chosen, one of basic, lr_range, study",
}


@pytest.mark.parametrize("override", NOTHING)
def test_null_chooses_none(override: str) -> None:
    assert Loader([]).compose([override])[NOTHING[override]] == {}


@pytest.mark.parametrize("override", NO_RECIPE)
def test_null_chooses_no_recipe(override: str) -> None:
    config = Loader([]).compose([override])
    assert config.hydra.runtime.choices.get("experiment") in (None, "[]", [])


def test_null_beside_another(tmp_path: Path) -> None:
    assert list(Loader([]).compose(["logger=[csv,null]"]).logger) == ["csv"]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "2.yaml").write_text("# @package _global_\nseed: 7\n")
    assert Loader([], [str(tmp_path)]).compose(["experiment=2"]).seed == 7


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("logger=null,csv", ["none", "csv"]),
        ("logger=csv,NULL", ["csv", "none"]),
        ("scheduler=null,cosine", ["none", "cosine"]),
        ("callbacks=none,null", ["none", "none"]),
        ("experiment=null,cnn", ["[]", "cnn"]),
        ("logger=[csv,null],tensorboard", ["[csv,none]", "tensorboard"]),
    ],
)
def test_null_among_the_values_of_a_sweep(override: str, names: list[str]) -> None:
    (line,) = Loader([]).with_names([override])
    assert line == f"{override.partition('=')[0]}={','.join(names)}"


@pytest.mark.parametrize("command", REFUSED)
def test_the_rest_is_one_line(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *shlex.split(command)]) == 2
    out, err = capsys.readouterr()
    assert (len(err.splitlines()), out) == (1, "")
    assert REFUSED[command] in err
    assert not any(tmp_path.iterdir())
