"""Lengths of a run, which may become more."""

import math
from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.compose import compose
from mnist_lab.config.lengths import is_longer, lengths_of, limits, set_lengths, typed_lengths
from mnist_lab.errors import ConfigError


def lengths(epochs: Any, steps: Any) -> dict[str, Any]:
    return {"trainer.max_epochs": epochs, "trainer.max_steps": steps}


def test_limits_are_lightnings() -> None:
    assert limits(lengths(3, None)) == (3, math.inf)
    assert limits(lengths(None, None)) == (1000, math.inf)
    assert limits(lengths(None, 7)) == (math.inf, 7)
    assert limits(lengths(-1, -1)) == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("before", "now", "is_longer_now"),
    [
        ((2, None), (3, None), True),
        ((2, None), (2, None), False),
        ((3, None), (2, None), False),
        ((2, None), (-1, 90), False),
        ((2, 50), (-1, 90), True),
        ((2, 50), (3, 40), False),
        (("many", None), (3, None), False),
        ((2.5, None), (3, None), False),
    ],
)
def test_longer(before: tuple[Any, Any], now: tuple[Any, Any], is_longer_now: bool) -> None:
    assert is_longer(lengths(*before), lengths(*now)) is is_longer_now


def test_only_lengths_are_taken() -> None:
    typed = typed_lengths(["trainer.max_epochs=9", "allow_targets=[mine.]"])
    assert typed == {"trainer.max_epochs": 9}
    for text in ("seed=1", "+trainer.max_epochs=9", "~trainer.max_steps", "word"):
        with pytest.raises(ConfigError, match=r"only trainer\.max_epochs and trainer\.max_steps"):
            typed_lengths([text])
    with pytest.raises(ConfigError, match="several values"):
        typed_lengths(["trainer.max_steps=1,2"])


def test_a_length_has_its_type() -> None:
    config = compose(["trainer.max_epochs=3"])
    set_lengths(config, lengths(5, 70))
    assert lengths_of(config) == lengths(5, 70)
    assert OmegaConf.select(config, "trainer.max_steps") == 70
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=many"):
        set_lengths(config, lengths("many", None))
