from pathlib import Path
from typing import Any

import pytest
import torch
from door import FEW_BATCHES, call, train

from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError
from mnist_lab.inference.evaluate import evaluate
from mnist_lab.models import GlobalPoolCNN

FULL = 9 * (8 + 8 * 12 + 12 * 16 + 16 * 16 + 16 * 16) + 2 * (8 + 12 + 3 * 16) + 170
TINY: dict[str, Any] = {"channels": [8, 16, 16], "pool": [2, 2, 1], "separable": True}
TINY_COUNT = 9 * 8 + 2 * 8 + (9 * 8 + 8 * 16 + 32) + (9 * 16 + 16 * 16 + 32) + 170


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, FULL), ({"residual": True, "dropout": 0.1}, FULL), (TINY, TINY_COUNT)],
)
def test_parameters_are_counted_by_hand(
    arguments: dict[str, Any], expected: int, mnist_test: Split
) -> None:
    model = GlobalPoolCNN(**arguments)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert model(mnist_test.images[:3]).shape == (3, 10)


def test_a_residual_connection_adds_the_input(mnist_test: Split) -> None:
    """With a last batch norm of zero scale and no activation a residual block changes nothing."""
    shared: dict[str, Any] = {"channels": [4, 4], "pool": 1, "activation": "identity"}
    model, without = GlobalPoolCNN(**shared, residual=True), GlobalPoolCNN(**shared)
    assert isinstance(model.net, torch.nn.Sequential)
    plain = {name.replace(".block.", "."): value for name, value in model.state_dict().items()}
    without.load_state_dict(plain)
    first: Any = model.net[0]
    with torch.no_grad():
        for net, block in ((model.net, model.net[1].block), (without.net, without.net[1])):
            block[1].weight.zero_()
            block[1].bias.zero_()
            net.eval()
    pixels = mnist_test.images[:2] / 255
    assert torch.equal(model.net[1](first(pixels)), first(pixels))
    assert not torch.equal(model(mnist_test.images[:2]), without(mnist_test.images[:2]))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pool": [1, 1, 28, 2, 1]}, "model.pool"),
        ({"kernel_size": 4}, "model.kernel_size"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"channels": [8, 0]}, "model.channels"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        GlobalPoolCNN(**arguments)


@pytest.mark.thorough
def test_trains_evaluates_and_sweeps(tmp_path: Path) -> None:
    run_dir = train(f"model=global_pool_cnn {FEW_BATCHES}", tmp_path)
    assert evaluate(run_dir)["test/acc"] > 0
    done = call(f"train model=global_pool_cnn model.pool=[1,2] {FEW_BATCHES}", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "model.pool" in done.stderr
