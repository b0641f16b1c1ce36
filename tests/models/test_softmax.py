import pytest
import torch
import torch.nn.functional as F

from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError
from mnist_lab.models import SoftmaxRegression


def test_it_is_one_linear_layer(mnist_test: Split) -> None:
    model = SoftmaxRegression()
    weight, bias = model.parameters()
    assert (weight.shape, bias.shape) == ((10, 784), (10,))
    images = mnist_test.images[:50]
    expected = F.linear(images.view(50, 784).float() / 255, weight, bias)
    assert torch.allclose(model(images), expected, atol=1e-5)


def test_log_sigmoid_output(mnist_test: Split) -> None:
    torch.manual_seed(0)
    plain, squashed = SoftmaxRegression(), SoftmaxRegression(output="log_sigmoid")
    squashed.load_state_dict(plain.state_dict())
    logits = squashed(mnist_test.images[:50])
    assert torch.allclose(logits, F.logsigmoid(plain(mnist_test.images[:50])), atol=1e-6)
    assert logits.max() < 0


def test_classes_can_be_fewer(mnist_test: Split) -> None:
    assert SoftmaxRegression(num_classes=2)(mnist_test.images[:3]).shape == (3, 2)


def test_unknown_output_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.output=relu: must be one of identity, log_sig"):
        SoftmaxRegression(output="relu")
