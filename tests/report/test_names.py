"""Which name is meant, and which there are."""

from mnist_lab.report.names import listed, nearest

NAMES = ["epochs", "test/acc", "test/acc_class_0", "train/acc", "val/acc", "val/loss"]


def test_the_last_part_suggests_the_name_of_validation() -> None:
    assert nearest("acc", NAMES) == "val/acc"
    assert nearest("val/los", NAMES) == "val/loss"
    assert nearest("zzz", NAMES) is None


def test_validation_comes_first_and_no_class() -> None:
    assert listed(NAMES) == "val/acc, val/loss, test/acc, train/acc, epochs"
    assert listed(f"n{number:02}" for number in range(12)).endswith("n09 and 2 more")
