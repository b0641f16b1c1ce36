import pytest
from own_code import Net
from torch import nn

from mnist_lab.errors import ConfigError
from mnist_lab.models.named import build_named, named_class, takes


def test_builds_what_a_dotted_name_leads_to() -> None:
    assert named_class("key", "own_code.Net", nn.Module) is Net
    assert build_named("key", "torch.nn.Linear", nn.Module, 3, out_features=2).bias.shape == (2,)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no_such.Net", "key=no_such.Net: cannot be imported: No module named"),
        ("own_code.Missing", "key=own_code.Missing: cannot be imported"),
        ("own_code.function", "key=own_code.function: must be a subclass of Module"),
        ("own_code.Data", "key=own_code.Data: must be a subclass of Module"),
        ("own_code.Net", "got an unexpected keyword argument 'size'; it takes width, activation"),
    ],
)
def test_refuses_in_one_line(name: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        build_named("key", name, nn.Module, size=3)


def test_knows_which_arguments_a_class_takes() -> None:
    assert takes(Net, "width")
    assert not takes(Net, "size")
    assert takes(lambda **_: None, "size")
