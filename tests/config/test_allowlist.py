"""What a config may have built: by package and by role, of its own and of a directory's."""

from typing import Any

import pytest
from omegaconf import MISSING

from mnist_lab.config.allowlist import check_roles, check_targets
from mnist_lab.config.schema import SCHEMAS
from mnist_lab.errors import ConfigError, UntrustedError

OWN = ["own_code."]


def at(place: str, target: Any) -> dict[str, Any]:
    """Return a config with one target."""
    node: Any = {"_target_": target}
    for name in reversed(place.split(".")):
        node = {name: node}
    return node  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("model", "mnist_lab.models.MLP"),
        ("model", "mnist_lab.models.softmax.SoftmaxRegression"),
        ("model", "lightning.pytorch.demos.boring_classes.BoringModel"),
        ("model", "own_code.Model"),
        ("model.encoder", "torch.nn.Linear"),
        ("data", "mnist_lab.data.MNISTDataModule"),
        ("data", "own_code.Data"),
        ("trainer", "lightning.Trainer"),
        ("callbacks.x", "lightning.pytorch.callbacks.LambdaCallback"),
        ("callbacks.x", "mnist_lab.training.Checkpoint"),
        ("callbacks.x", "own_code.Callback"),
        ("logger.x", "lightning.pytorch.loggers.MLFlowLogger"),
        ("trainer.profiler", "lightning.pytorch.profilers.SimpleProfiler"),
        ("trainer.strategy", "lightning.pytorch.strategies.DDPStrategy"),
        ("trainer.plugins", "lightning.pytorch.plugins.TorchCheckpointIO"),
    ],
)
def test_typed(place: str, target: str) -> None:
    check_targets(at(place, target), OWN)
    check_roles(at(place, target), OWN)


@pytest.mark.parametrize(
    ("place", "target", "message"),
    [
        ("model", "torch.load", "a subclass of LightningModule"),
        ("model", "torch.nn.Linear", "a subclass of LightningModule"),
        ("model", "mnist_lab.data.MNISTDataModule", "a subclass of LightningModule"),
        ("model", "own_code.L.LightningModule.load_from_checkpoint", "a subclass"),
        ("callbacks.x", "own_code.function", "a subclass of Callback"),
        ("callbacks.x", "mnist_lab.config.allowlist.os.system", "a subclass of Callback"),
        ("callbacks.x", "mnist_lab.models.MLP.load_from_checkpoint", "a subclass of Callback"),
        ("callbacks.x", "torch.os.system", "a subclass of Callback"),
        ("model.net", "torch.utils.data.DataLoader", "a subclass of Module"),
    ],
)
def test_the_class_is_judged_and_not_its_name(place: str, target: str, message: str) -> None:
    check_targets(at(place, target), OWN)
    with pytest.raises(UntrustedError, match=message):
        check_roles(at(place, target), OWN)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("callbacks.x", "os.system"),
        ("callbacks.x", "mnist_labs.X"),
        ("callbacks.x", ["mnist_lab.callbacks.Progress"]),
        ("anything", "torch.nn.Linear"),
        ("optimizer.lr", "torch.nn.Linear"),
    ],
)
def test_refused_before_anything_is_imported(place: str, target: Any) -> None:
    with pytest.raises(UntrustedError, match=f"{place}._target_="):
        check_targets(at(place, target), OWN)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("model", "lightning.pytorch.demos.boring_classes.BoringModel"),
        ("model.encoder", "torch.nn.Linear"),
        ("callbacks.x", "lightning.pytorch.callbacks.LambdaCallback"),
        ("callbacks.x", "mnist_lab.models.MLP"),
        ("logger.x", "lightning.pytorch.loggers.MLFlowLogger"),
        ("trainer.profiler", "lightning.pytorch.profilers.SimpleProfiler"),
        ("trainer.strategy", "lightning.pytorch.strategies.DDPStrategy"),
        ("trainer.plugins", "lightning.pytorch.plugins.TorchCheckpointIO"),
        ("trainer", "mnist_lab.models.MLP"),
    ],
)
def test_typed_again_where_it_came_with_a_directory(place: str, target: str) -> None:
    with pytest.raises(UntrustedError, match="allow_targets"):
        check_targets(at(place, target), OWN, is_typed=False)
    check_targets(at(place, target), [target], is_typed=False)


def test_what_is_shipped_comes_with_a_directory() -> None:
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            if (target := getattr(schema, "_target_", MISSING)) != MISSING:
                plain = at(f"{group}.{name}" if group == "callbacks" else group, target)
                check_targets(plain, [], is_typed=False)
                check_roles(plain, [])
    check_targets(at("model", "mnist_lab.models.mine.Mine"), [], is_typed=False)


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"model\._target_=mnist_lab\.models\.NoSuch: cannot be"):
        check_roles(at("model", "mnist_lab.models.NoSuch"), [])


def with_part(name: str, target: str, call_key: str) -> Any:
    part = {"_target_": target, call_key: True}
    return {"model": {"_target_": "own_code.Model", name: part}}


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("optimizer", "torch.optim.Adam"),
        ("scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"),
        ("optimizer_of_net", "torch.optim.SGD"),
    ],
)
def test_an_own_module_may_be_given_partial_ones(name: str, target: str, is_typed: bool) -> None:
    plain = with_part(name, target, "_partial_")
    check_targets(plain, OWN, is_typed=is_typed)
    check_roles({"model": {name: plain["model"][name]}}, OWN)


@pytest.mark.parametrize(
    ("name", "target", "call_key"),
    [
        ("optimizer", "torch.optim.Adam", "_args_"),
        ("net", "torch.nn.Linear", "_partial_"),
        ("net", "torch.nn.Linear", "_args_"),
    ],
)
@pytest.mark.parametrize("is_typed", [True, False])
def test_other_calls_are_refused(name: str, target: str, call_key: str, is_typed: bool) -> None:
    with pytest.raises(UntrustedError, match=rf"^model.{name}.{call_key}: .* give its numbers, "):
        check_targets(with_part(name, target, call_key), OWN, is_typed=is_typed)


@pytest.mark.parametrize("target", ["torch.utils.data.DataLoader", "torch.optim.adam.adam"])
def test_the_role_of_a_partial_one_is_checked(target: str) -> None:
    plain = with_part("scheduler", target, "_partial_")["model"]["scheduler"]
    with pytest.raises(UntrustedError, match=r"must be a subclass of .*Optimizer or LRScheduler"):
        check_roles({"model": {"scheduler": plain}}, OWN)
