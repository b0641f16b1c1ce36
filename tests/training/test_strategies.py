"""Strategies: those that copy this process are refused in a line, others train or say why not."""

from pathlib import Path

import pytest
from door import FEW_BATCHES, call

_COPIES = ("ddp_spawn", "ddp_fork", "ddp_notebook")
_UNUSED = [
    f"{name}_find_unused_parameters_{value}" for name in _COPIES for value in ("true", "false")
]
_NODE = "{_target_: lightning.pytorch.strategies.DDPStrategy, start_method: %s}"
_NODES = [_NODE % way for way in ("spawn", "fork", "forkserver")]
_QUICK = {("ddp_spawn", 1), ("ddp_fork", 2), ("ddp_notebook", 2), (_NODES[0], 2)}
_CASES = [
    pytest.param(strategy, devices, marks=() if (strategy, devices) in _QUICK else pytest.mark.slow)
    for strategy in (*_COPIES, *_UNUSED, *_NODES)
    for devices in (1, 2)
]


@pytest.mark.parametrize(("strategy", "devices"), _CASES)
def test_a_strategy_that_copies_this_process_is_refused(
    strategy: str, devices: int, tmp_path: Path
) -> None:
    done = call(
        f"train model=softmax {FEW_BATCHES} 'trainer.strategy={strategy}' "
        f"trainer.devices={devices} hydra.run.dir=run",
        tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert "starts its processes by copying this one" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed", "xla", "nonsense"])
def test_a_strategy_that_this_machine_lacks_is_one_line(strategy: str, tmp_path: Path) -> None:
    done = call(
        f"train model=softmax {FEW_BATCHES} trainer.strategy={strategy} hydra.run.dir=run", tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
