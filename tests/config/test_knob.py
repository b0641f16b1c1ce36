"""The words in which a value of the config is refused."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.knob import nearest, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-3, "0.001"),
        ("relu", "relu"),
        (OmegaConf.create([1, 2]), "[1, 2]"),
    ],
)
def test_a_value_is_shown_as_it_is_typed(value: Any, text: str) -> None:
    assert shown(value) == text


def test_the_nearest_name_is_asked_for() -> None:
    assert nearest("rely", ["gelu", "relu"]) == "; did you mean relu?"
    assert nearest("something", ["gelu", "relu"]) == ""


@pytest.mark.parametrize(("typed", "meant"), [("adamW", "adamw"), ("SGD", "sgd"), ("adm", "adam")])
def test_the_nearest_name_is_looked_for_in_any_case(typed: str, meant: str) -> None:
    assert nearest(typed, ["adam", "adamw", "sgd"]) == f"; did you mean {meant}?"
