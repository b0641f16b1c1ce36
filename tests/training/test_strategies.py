"""Strategies: those that copy this process are refused in a line, others train or say why not."""

from pathlib import Path

import pytest
from door import FEW_BATCHES, call

_COPIES = ("ddp_spawn", "ddp_fork", "ddp_notebook")
_UNUSED = [
    f"{name}_find_unused_parameters_{value}" for name in _COPIES for value in ("true", "false")
]
_NODE = "{_target_: lightning.pytorch.strategies.DDPStrategy, start_method: %s}"


@pytest.mark.parametrize(
    "strategy", [*_COPIES, *_UNUSED, *(_NODE % way for way in ("spawn", "fork", "forkserver"))]
)
@pytest.mark.parametrize("devices", [1, 2])
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
