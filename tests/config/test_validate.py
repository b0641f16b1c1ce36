"""What may be asked of the trainer, and what is refused before anything is made."""

import pytest
from composing import compose


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer=gpu", "trainer.devices=-1"),
        ("trainer=gpu", "trainer.devices='0,1'"),
        ("trainer=gpu", "trainer.devices=[1]"),
        ("trainer=ddp_cpu", "trainer.devices=3"),
        ("trainer=gpu", "trainer.devices='1,'"),
        ("trainer=cpu", "trainer.devices=auto"),
        ("trainer.devices=' 2'",),
        ("trainer.strategy=DDP", "trainer.profiler=Simple"),
        ("trainer.val_check_interval='00:00:01:00'",),
        ("trainer.max_time={seconds: 5}",),
        ("trainer.overfit_batches=0.2",),
        ("trainer.limit_train_batches=1.0",),
        ("trainer.limit_train_batches=7", "trainer.val_check_interval=7"),
        ("trainer.val_check_interval=1000", "trainer.check_val_every_n_epoch=null"),
        ("trainer.val_check_interval=1000", "trainer.fast_dev_run=true"),
        ("trainer.strategy=ddp_spawn",),
        ("trainer.profiler={_target_: own_code.Profiler}", "allow_targets=[own_code.]"),
    ],
)
def test_taken(overrides: tuple[str, ...]) -> None:
    compose(*overrides)
