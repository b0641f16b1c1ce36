"""What bits=portable is refused for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_lab.config.portable_bits import choose_bits
from mnist_lab.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model=cnn", "holds for model=softmax and model=mlp"),
        ("trainer.precision=bf16-mixed", "must be 32-true where bits=portable"),
        ("-m bits=portable,null", "must have one value"),
    ],
)
def test_portable_bits_are_refused(words: str, message: str, tmp_path: Path) -> None:
    environment = {**os.environ, "MKL_CBWR": "AVX2,STRICT", "ATEN_CPU_CAPABILITY": "avx2"}
    command = [sys.executable, "-m", "mnist_lab", "train", "model=mlp", "bits=portable"]
    done = subprocess.run(
        [*command, *words.split()], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_portable_bits_are_chosen_before_torch_is_imported() -> None:
    with pytest.raises(ConfigError, match="before torch is imported"):
        choose_bits("portable")
