"""What a storage that cannot be opened is told of in one line."""

from pathlib import Path

import pytest

from mnist_lab.errors import ConfigError, InputError, StorageError
from mnist_lab.sweeps.storage import DATABASE, url_of
from mnist_lab.sweeps.study import Address, Study


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        ("nothing://x", ConfigError),
        ("mysql+none://x", ConfigError),
        ("sqlite:////nowhere/at/all.db", StorageError),
        ("/nowhere/at/all.journal", StorageError),
    ],
)
def test_bad_storage(storage: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Study(Address(storage, "sweep", ("maximize",)))
    assert storage in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_file(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(InputError, match=r"study\.db: not an Optuna study, or corrupt"):
        Study(Address(url_of(tmp_path / DATABASE), "sweep", ("maximize",)))
