"""``mnist-lab train --help`` names everything that can be chosen."""

from dataclasses import fields
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from mnist_lab.cli.train_help import choice_values, train_help
from mnist_lab.config.compose import Loader
from mnist_lab.config.messages import known_keys
from mnist_lab.config.options import choices, groups
from mnist_lab.config.schema import SCHEMAS, Train

TEXT = train_help()
LINES = TEXT.splitlines()


def test_fits_100_columns() -> None:
    assert max(map(len, LINES)) <= 100


def test_names_every_choice() -> None:
    for group in groups():
        start = LINES.index(f"{group}=")
        end = LINES.index("", start)
        named = [line.split()[0] for line in LINES[start + 1 : end] if line[2] != " "]
        assert named == list(choices(group))


def test_names_every_key_with_its_default() -> None:
    shown = {line.strip().partition("=")[0] for line in LINES if line.startswith("  ")}
    assert {key for key, knob in known_keys().items() if knob is not None} <= shown
    assert "  optimizer.lr=0.003 (nadam: 0.002; own: null; rmsprop: 0.001; sgd: 0.01)" in LINES
    assert "  model.dropout=0.2 (cnn, global_pool_cnn: 0.0)" in LINES
    assert "  model.hidden_dims=[512, 256] (cnn: [256])" in LINES
    assert "  trainer.max_epochs=6" in LINES
    assert "  callbacks.checkpoint.every_n_seconds=20.0" in LINES
    assert "  data.root=null" in LINES
    assert {knob.name for knob in fields(Train) if knob.metadata} <= shown


def test_names_the_choices_of_ones_own_folders(tmp_path: Path) -> None:
    for folder, text in (("first", "One's own."), ("second", "Hidden.")):
        (tmp_path / folder / "model").mkdir(parents=True)
        (tmp_path / folder / "model" / "mine.yaml").write_text(f"# {text}\n{{}}\n")
    (tmp_path / "second" / "places").mkdir()
    (tmp_path / "second" / "places" / "here.yaml").write_text("# Here.\n{}\n")
    text = train_help([str(tmp_path / "first"), str(tmp_path / "second")])
    assert "\n  mine              One's own.\n" in text
    assert "\nplaces=\n  here              Here.\n" in text
    assert "Hidden" not in text


def test_a_list_of_defaults_may_name_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "optimizer").mkdir()
    text = "defaults: [adam_schema, _self_]\nlr: 0.25\n"
    (tmp_path / "optimizer" / "adam.yaml").write_text(text)
    monkeypatch.setattr("mnist_lab.cli.train_help.CONF", tmp_path)
    assert choice_values("optimizer", "adam")["optimizer.lr"] == 0.25


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("group", SCHEMAS)
def test_defaults_are_what_composing_gives(group: str) -> None:
    for name in choices(group):
        config = Loader([]).compose([f"{group}={name}"])
        for key, value in choice_values(group, name).items():
            *parents, last = key.split(".")
            node = OmegaConf.select(config, ".".join(parents))
            assert isinstance(node, DictConfig)
            plain = OmegaConf.to_container(node, resolve=False)
            assert isinstance(plain, dict)
            if key == "model.num_classes":  # null is the data's
                value = 10
            assert plain[last] == value, f"{group}={name}: {key}"
