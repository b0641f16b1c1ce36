"""Short trainings at many learning rates: alone and stacked, by the losses that they leave."""

import math

import pytest

from mnist_lab import compose
from mnist_lab.training import range_test as module
from mnist_lab.training.range_test import range_test

RATES = [1e-4, 1e-2, 3.0]


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["mlp model.hidden_dims=[8] model.dropout=0.3", "softmax"])
def test_a_stack_has_the_losses_of_lone_trainings(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"model={model} trainer=cpu scheduler=one_cycle".split()
    configs = [compose(*words, f"seed={seed}") for seed in (0, 5)]
    stacked = range_test(configs, RATES, steps=10, size=2)
    monkeypatch.setattr(module, "_stacking", lambda _: ("a test", 1))
    alone = range_test(configs, RATES, steps=10)
    assert stacked == alone
    assert stacked[0] != stacked[1]
    assert all(math.isfinite(loss) and loss > 0 for row in stacked for loss in row)


def test_a_run_whose_layers_are_frozen_is_not_stacked() -> None:
    config = compose("model=mlp", "freeze=[net.1]", "trainer=cpu")
    assert module._stacking(config) == ("freeze is not stacked", 1)
