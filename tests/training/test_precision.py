"""Precision and device, where the config leaves them to the machine."""

import pytest
import torch

from mnist_lab.training.precision import can_compute, device_type


@pytest.mark.parametrize(
    ("accelerator", "cuda", "mps", "expected"),
    [
        ("auto", True, False, "cuda"),
        (None, False, True, "mps"),
        ("gpu", False, True, "mps"),
        ("cpu", True, True, "cpu"),
        ("mps", True, True, "mps"),
        ("auto", False, False, "cpu"),
    ],
)
def test_device_type(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device_type(accelerator) == expected
    assert can_compute("64-true", accelerator) is (expected != "mps")
    assert not can_compute("transformer-engine", accelerator)  # which is not installed
