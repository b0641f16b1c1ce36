"""Two processes train what one trains."""

from pathlib import Path

import pytest
import torch
from door import run


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ("model=softmax", 1e-4),
        ("model=mlp model.hidden_dims=[65,65] optimizer=sgd optimizer.lr=0.1", 1e-4),
        # Adam divides gradients that are nothing but rounding by their own size, so that float32
        # weights of dead inputs may differ; in double precision nothing does.
        ("model=mlp model.hidden_dims=[65,65] trainer.precision=64-true", 1e-9),
    ],
)
def test_same_weights_after_an_epoch(options: str, tolerance: float, tmp_path: Path) -> None:
    weights = []
    for trainer in ("cpu", "ddp_cpu"):
        done = run(
            f"train {options} model.dropout=0 trainer={trainer} trainer.max_epochs=1 logger=none "
            f"data.batch_size=250 data.augment=affine hydra.run.dir={trainer}".replace(
                "model.dropout=0", "" if "softmax" in options else "model.dropout=0"
            ),
            tmp_path,
        )
        assert done.returncode == 0, done.stderr
        path = tmp_path / trainer / "checkpoints" / "last.ckpt"
        weights.append(torch.load(path, weights_only=True)["state_dict"])
    one, two = weights
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=0, atol=tolerance), name
