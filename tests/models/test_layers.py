import pytest
from torch import nn

from mnist_lab.errors import ConfigError
from mnist_lab.models.layers import GaussianNoise, hidden_layers


def test_a_hidden_layer_is_linear_batch_norm_activation_dropout() -> None:
    layers = hidden_layers(4, [3, 2], "tanh", [0.5, 0.0], batch_norm=True)
    assert [type(layer) for layer in layers] == [
        *(nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout),
        *(nn.Linear, nn.BatchNorm1d, nn.Tanh),
    ]
    assert [type(layer) for layer in hidden_layers(4, [3], "relu", 0.5, True, noise=0.3)] == [
        *(nn.Linear, nn.BatchNorm1d, GaussianNoise, nn.ReLU, nn.Dropout)
    ]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(4, 3), (3, 2)]


@pytest.mark.parametrize(
    ("activation", "dropout", "message"),
    [("relo", 0.0, "model.activation=relo: must be one of"), ("relu", [0.1], "model.dropout=")],
)
def test_unknown_activation_and_rates_of_another_number(
    activation: str, dropout: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        hidden_layers(4, [3, 2], activation, dropout, batch_norm=False)
