"""One file that holds a run or a sweep, to be taken elsewhere.

A zip file whose members are stored as they are, since checkpoints do not shrink: what comes out is
never more than what went in, whoever packed it.
"""

import importlib.machinery
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mnist_lab.errors import ConfigError, InputError, UntrustedError, first_line, printable
from mnist_lab.files.atomic import replace_atomic, write_errors
from mnist_lab.files.regular import check_links, open_regular
from mnist_lab.runs.directory import CONFIG, LOCK, SWEEP, check_is_run
from mnist_lab.runs.exclusive import exclusive
from mnist_lab.runs.trash import TRASH

_MAX_MEMBERS = 1_000_000
_FORBIDDEN = {"\\", ":", "\0"}
_CODE = importlib.machinery.all_suffixes()  # which Python would import from this folder
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError)


def pack(folder: Path, file: Path) -> None:
    """Write a run or a sweep as one file, which is seen whole or not at all.

    Raises:
        BusyError: a process works on it.
        InputError: ``unpack`` would refuse it.
        StorageError: the file cannot be written.
        UntrustedError: a link leads out of the directory.
    """
    with exclusive(folder), write_errors(file):
        check_links(folder)
        names = _names(folder)
        replace_atomic(file, lambda archive: _write(archive, names))


def _names(folder: Path) -> dict[Path, str]:
    """Return the files to pack, and the name of each in the archive.

    Raises:
        InputError: a name is one that ``unpack`` refuses, or there is no config.
    """
    root = folder.resolve().name
    if fault := _fault(f"{root}/{CONFIG}"):
        raise InputError(f"{folder}: {fault} is not taken from an archive; rename the directory")
    if not any((folder / name).is_file() for name in (CONFIG, SWEEP)):
        raise InputError(f"{folder / CONFIG}: no such file, without which it is no run")
    names = {}
    for path in _files(folder):
        names[path] = str(PurePosixPath(root, *path.relative_to(folder).parts))
        if fault := _fault(names[path]):
            raise InputError(f"{path}: {fault} is not taken from an archive; rename or move it")
    return names


def _fault(name: str) -> str:
    """Return what is wrong with the name of a member; an empty text if nothing is."""
    path = PurePosixPath(name)
    if forbidden := set(name) & _FORBIDDEN:
        return f"a name with {' '.join(sorted(forbidden))}"
    if any("\ud800" <= char <= "\udfff" for char in name):
        return "a name that is no UTF-8"
    if path.suffix in _CODE:
        return f"code ({path.suffix}), which Python may import,"
    if path.parts[:1] and path.parts[0].startswith("."):  # such as .git, which programs obey
        return "a hidden directory"
    is_below = len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts
    return "" if is_below and str(path) == name else "a file that is not below one directory"


def _write(archive: BinaryIO, names: Mapping[Path, str]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as members:
        for path, name in names.items():
            member = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            with open_regular(path) as content, members.open(member, "w", force_zip64=True) as to:
                shutil.copyfileobj(content, to)


def _files(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        names[:] = sorted(set(names) - {TRASH})
        for name in sorted(files):
            if name != LOCK and not name.endswith((".lock", ".partial")):
                yield Path(place, name)


def unpack(file: Path, parent: Path) -> Path:
    """Write what an archive holds into a new folder, and return the run's or sweep's directory.

    Args:
        file: the archive, which may be anyone's.
        parent: the folder that gets a directory of the name that the archive has for it.

    Raises:
        ConfigError: there is such a directory already.
        InputError: the file is no archive of a run, or corrupt.
        StorageError: the directory cannot be written.
        UntrustedError: a member is no plain file below one directory.
    """
    check_is_run(file)
    with open_regular(file) as content:
        try:
            with zipfile.ZipFile(content) as archive:
                members = archive.infolist()
                _check(file, members, file.stat().st_size)
                target = parent / PurePosixPath(members[0].filename).parts[0]
                if os.path.lexists(target):
                    raise ConfigError(
                        f"{target}: is there already; move it away, or go on there: "
                        f"mnist-lab resume {target}"
                    )
                _extract(archive, members, parent, target)
        except (ConfigError, InputError, UntrustedError):
            raise
        except _DAMAGE as error:
            raise InputError(
                f"{file}: must be a run's directory, or an archive of one: {first_line(error)}"
            ) from error
    return target


def _check(file: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    """Check each member before any is written."""
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if _fault(member.orig_filename) or kind not in (0, stat.S_IFREG):
            name = printable(member.filename[:200])
            raise UntrustedError(f"{file}: {name}: not a file of a run, below its directory")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise InputError(f"{file}: {printable(member.filename[:200])}: must be stored as it is")
    names = {member.filename for member in members}
    roots = {name.partition("/")[0] for name in names}
    is_run = any(f"{root}/{name}" in names for root in roots for name in (CONFIG, SWEEP))
    if len(roots) != 1 or not is_run or len(names) != len(members) or len(names) > _MAX_MEMBERS:
        raise InputError(f"{file}: not an archive of a run")
    if sum(member.file_size for member in members) > size:
        raise InputError(f"{file}: its members are larger than it is")


def _extract(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], parent: Path, target: Path
) -> None:
    """Write members into a folder that gets the directory's name once it is whole."""
    partial = parent / f".{secrets.token_hex(8)}.partial"
    try:
        with write_errors(target):
            for member in members:
                path = partial.joinpath(*PurePosixPath(member.filename).parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as content, open(path, "xb") as file:
                    shutil.copyfileobj(content, file)
            os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
