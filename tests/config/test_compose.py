"""Every choice that is shipped composes, and what must not be built is refused."""

from pathlib import Path

import pytest
from composing import compose

from mnist_lab.config.compose import Loader
from mnist_lab.config.options import CONF, choices, groups
from mnist_lab.errors import ConfigError, UntrustedError

CHOICES = [(group, name) for group in groups() for name in choices(group)]
TRAINERS = choices("trainer")
OWN = {"optimizer": "torch.optim.RMSprop", "scheduler": "torch.optim.lr_scheduler.StepLR"}


def test_every_folder_is_known() -> None:
    files = {path.relative_to(CONF) for path in CONF.rglob("*") if path.is_file()}
    listed = {Path(group, f"{name}.yaml") for group, name in CHOICES}
    assert files == listed | {Path("train.yaml"), Path("schema.json")}


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_choice_composes(group: str, name: str) -> None:
    its_class = [f"{group}._target_={OWN[group]}"] if name == "own" else []
    place = ["data.root=mine"] if name in ("arrays", "folder") else []
    config = compose(f"{group}={name}", *its_class, *place)
    assert config.hydra.runtime.choices[group] == name


@pytest.mark.parametrize("model", choices("model"))
@pytest.mark.parametrize("trainer", TRAINERS)
def test_model_and_trainer_compose(model: str, trainer: str) -> None:
    config = compose(f"model={model}", f"trainer={trainer}")
    assert config.trainer.max_epochs == 6


@pytest.mark.parametrize("group", groups())
def test_choices_say_what_they_are(group: str) -> None:
    assert all(text.endswith(".") for text in choices(group).values())


def test_values_reach_their_place() -> None:
    config = compose("optimizer.lr=0.5", "monitor=val/loss", "mode=min", "seed=3")
    assert (config.optimizer.lr, config.data.seed) == (0.5, 3)
    assert (config.callbacks.checkpoint.monitor, config.callbacks.checkpoint.mode) == (
        "val/loss",
        "min",
    )


def test_own_classes_need_the_command_line() -> None:
    mine = "+callbacks.mine._target_=own_code.Callback"
    with pytest.raises(UntrustedError, match=r"own_code\.Callback"):
        compose(mine)
    for name in ("own_code.", "own_code", "own_code.Callback"):
        config = compose(mine, f"allow_targets=[{name}]")
        assert config.callbacks.mine._target_ == "own_code.Callback"
    for other in ("own_co", "own_code.Call", "''", "other."):
        with pytest.raises(UntrustedError, match=r"own_code\.Callback"):
            compose(mine, f"allow_targets=[{other}]")


def test_the_environment_opens_packages_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_LAB_ALLOW", "other., own_code")
    assert compose("+callbacks.mine._target_=own_code.Callback")
    with pytest.raises(UntrustedError, match=r"os\.system"):
        compose("+callbacks.mine._target_=os.system")


def test_loggers_and_hydra_keys_can_be_added() -> None:
    config = compose(
        "+logger.x._target_=lightning.pytorch.loggers.CSVLogger",
        "+logger.x.save_dir=elsewhere",
        "+hydra.job.env_set.X=1",
        "+hydra.callbacks.one._target_=hydra.experimental.callbacks.LogJobReturnCallback",
    )
    assert config.logger.x.save_dir == str(Path.cwd() / "elsewhere")
    assert config.hydra.job.env_set.X == "1"


def test_own_model_may_measure_anything() -> None:
    own = ["model._target_=own_code.Model", "allow_targets=[own_code.]"]
    assert compose(*own, "monitor=val/f1").monitor == "val/f1"


def test_config_dir_adds_choices(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text("defaults: [mlp_schema]\nhidden_dims: [7]\n")
    config = Loader([], [str(tmp_path)]).compose(["model=own"])
    assert config.model.hidden_dims == [7]


def test_a_wrong_file_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text("defaults: [mlp_schema]\nhiden_dims: [7]\n")
    with pytest.raises(ConfigError, match=r"hiden_dims.*did you mean model.hidden_dims"):
        Loader([], [str(tmp_path)]).compose(["model=own"])


@pytest.mark.parametrize("text", ["run_dir: here", "trainer: {default_root_dir: null}"])
def test_a_file_cannot_move_a_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "moved.yaml").write_text(f"# @package _global_\n{text}\n")
    overrides = ["experiment=moved"]
    with pytest.raises(ConfigError, match=r"follows hydra\.run\.dir"):
        Loader(overrides, [str(tmp_path)]).compose(overrides)


@pytest.mark.parametrize("group", ["experiment", "sweep", "experiment/old"])
@pytest.mark.parametrize("header", ["", "# mine\n# @package _global_\n", "# @package _global_\n"])
def test_a_recipe_of_ones_own_is_of_the_whole_config(
    group: str, header: str, tmp_path: Path
) -> None:
    folder, _, name = f"{group}/mine".partition("/")
    path = tmp_path / folder / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{header}defaults:\n  - override /model: cnn\noptimizer:\n  lr: 0.1\n")
    config = Loader([], [str(tmp_path)]).compose([f"{folder}={name}"])
    assert config.model._target_.endswith("CNN")
    assert config.optimizer.lr == 0.1
