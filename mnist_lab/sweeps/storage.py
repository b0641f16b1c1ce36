"""Storage of a study: where it is by default, how it is opened, what is wrong with it in a line."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mnist_lab.config.paths import check_utf8
from mnist_lab.errors import (
    ConfigError,
    InputError,
    LabError,
    StorageError,
    UntrustedError,
    causes,
    first_line,
    reason,
)
from mnist_lab.files.regular import read_regular

_DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_SQLITE_DAMAGE = (1, 11, 20, 26)  # SQLITE_ERROR, as of a missing table; CORRUPT; MISMATCH; NOTADB
DATABASE = "study.db"
_SUPER_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"  # the last bytes of a journal that names one
_LONGEST_JOURNAL = 1_000_000_000  # bytes
_LONGEST_LINE = 1_000_000  # bytes of a journal's first line
_PATIENCE = 60  # seconds that SQLite waits for another process that writes


def url_of(path: Path) -> str:
    """Return the URL of a SQLite database.

    Raises:
        ConfigError: SQLAlchemy cannot open a file of that name.
    """
    place = str(path.absolute())
    check_utf8(place, "a study's database", "sweep in another folder")
    return URL.create("sqlite", database=place).render_as_string()


def _check_journal(path: Path) -> None:
    """Check a file's first line; Optuna would append to any text whose last line it cannot read."""
    if not path.exists():
        return
    if not path.is_file():
        raise ValueError("is not a regular file")
    with path.open("rb") as file:
        line = file.readline(_LONGEST_LINE)
    if line and "op_code" not in dict(json.loads(line)):
        raise ValueError("its first line has no op_code")


def check_database(folder: Path) -> None:
    """Refuse a database in a sweep's directory that would have SQLite delete another file.

    A journal that a process left when it was killed may end with the name of a super-journal, of
    several databases, which SQLite deletes at the next start. Optuna's has none.

    Raises:
        UntrustedError: it does.
    """
    journal = folder / f"{DATABASE}-journal"
    if journal.exists() and read_regular(journal, _LONGEST_JOURNAL).endswith(_SUPER_JOURNAL):
        raise UntrustedError(f"{journal}: names a file of another database, which would be deleted")


@contextlib.contextmanager
def one_line_errors(storage: str) -> Iterator[None]:
    """Re-raise what Optuna and its storage raise on what they cannot open or read, as one line.

    Raises:
        InputError: the storage is no study, or is damaged.
        StorageError: it cannot be opened.
    """
    try:
        yield
    except LabError:
        raise
    except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError) as error:
        if not _is_damage(error):
            problem = reason(error) if isinstance(error, OSError) else first_line(error)
            raise StorageError(f"{storage}: cannot be opened: {problem}") from error
        raise _not_a_study(storage, error) from error
    except _DAMAGE as error:
        raise _not_a_study(storage, error) from error


@contextlib.contextmanager
def lost(storage: str) -> Iterator[None]:
    """Re-raise what Optuna and its storage raise once they are open, as one line.

    Raises:
        InputError: the storage is damaged.
        StorageError: it cannot be read or written any more.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
        if _is_damage(error):
            raise _not_a_study(storage, error) from error
        # The database's own error says more than what came of it. Optuna tries some writes again,
        # and so loses what the first one met.
        problems = (reason(c) for c in causes(error) if isinstance(c, DBAPIError | OSError))
        problem = next(problems, "a transaction has failed")
        raise StorageError(f"{storage}: cannot be used: {problem}") from error


def _not_a_study(storage: str, error: Exception) -> InputError:
    kind = "study" if "://" in storage else "journal"
    return InputError(f"{storage}: not an Optuna {kind}, or corrupt: {first_line(error)}")


def _is_damage(error: BaseException) -> bool:
    """Return whether SQLite says that a file, or a table in it, is not what it should be."""
    for cause in causes(error):
        code = getattr(getattr(cause, "orig", None), "sqlite_errorcode", None)
        if code is not None:
            return code & 0xFF in _SQLITE_DAMAGE
    return False


def open_storage(storage: str) -> BaseStorage:
    """Open a study's storage: a database's URL, or the path of a journal.

    Raises:
        ConfigError: there is no such storage.
        ValueError: the path is no journal.
    """
    if "://" not in storage:
        _check_journal(Path(storage))
        return JournalStorage(JournalFileBackend(storage))
    engine = {"connect_args": {"timeout": _PATIENCE}} if storage.startswith("sqlite") else {}
    try:
        return RDBStorage(storage, engine_kwargs=engine)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"hydra.sweeper.storage={storage}: {first_line(error)}") from error
    except SQLAlchemyError as error:
        if hasattr(error, "orig"):  # the database's own
            raise
        raise ConfigError(f"hydra.sweeper.storage={storage}: {first_line(error)}") from error
