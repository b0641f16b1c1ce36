"""Inspection of checkpoint files without importing, building or trusting anything in them.

``torch.save`` writes a zip archive whose members are not compressed: one pickle, and the bytes of
each tensor beside it. What it writes names a handful of functions that put tensors together.
``torch.load(weights_only=True)`` knows more than that, among it what asks for any amount of memory.
"""

import contextlib
import io
import itertools
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mnist_lab.errors import InputError, LabError, UntrustedError, first_line
from mnist_lab.files.regular import open_regular

_MAX_PICKLE = 32_000_000  # bytes; a model of a thousand layers takes 1,000,000
_MAX_OPCODES = 500_000  # each of which makes one object at most; that model takes 200,000
_MAX_OLD = 1_000_000  # bytes that are looked at of what no version of the lab has written
# Not _codecs.encode, bytearray or a storage: calling those takes any amount of memory.
_GLOBALS = {
    "collections OrderedDict",
    "collections Counter",
    "builtins set",
    "__builtin__ set",
    "builtins complex",
    "__builtin__ complex",
    "torch Size",
    "torch device",
    "torch.nn.parameter Parameter",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
}
_TORCH_TYPE = re.compile(r"torch ([A-Z][A-Za-z0-9]*Storage|u?int\d+|b?float\d+|complex\d+|bool)")
_NAME = re.compile(r"[\w.]+ [\w.]+")
# What else takes code from a name, or builds an object of it.
_CALLS = {"INST", "OBJ", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"}


@contextlib.contextmanager
def opened(path: Path, is_whole: bool = True) -> Iterator[BinaryIO]:
    """Open a checkpoint file after checking its form, and that its pickle names no code.

    If ``is_whole`` every checksum is verified, which ``torch.load`` does not.

    Raises:
        InputError: the file is missing, truncated or corrupt, or not a checkpoint.
        UntrustedError: the file names code.
    """
    try:
        with open_regular(path) as file:
            if file.read(4) != b"PK\3\4" or not zipfile.is_zipfile(file):
                _refuse_old_forms(path, file)
                raise InputError(f"{path}: not a checkpoint, or one that was cut off")
            with zipfile.ZipFile(file) as archive:
                _check_form(path, archive)
                if is_whole and (member := archive.testzip()) is not None:
                    raise InputError(f"{path}: corrupt: the checksum of {member} is wrong")
            file.seek(0)
            yield file
    except LabError:
        raise
    except Exception as error:  # zipfile raises many kinds for a corrupt file
        raise InputError(f"{path}: corrupt, or not a checkpoint: {first_line(error)}") from error


def _check_form(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that an archive is as ``torch.save`` writes one, and what its pickle names."""
    members = archive.infolist()
    names = [member.filename.lower() for member in members]  # torch's reader takes either case
    for member, name in zip(members, names, strict=True):
        if name.endswith(".pkl"):
            _check_pickle(path, archive, member)
    paths = [PurePosixPath(name) for name in names]
    if any(p.is_absolute() or ".." in p.parts or len(p.parts) < 2 for p in paths):
        raise InputError(f"{path}: not a checkpoint: it has a member of a strange name")
    if len({p.parts[0] for p in paths}) != 1 or len(set(names)) != len(names):
        raise InputError(f"{path}: not a checkpoint: two of its members have one name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or archive.comment:
        raise InputError(f"{path}: not a checkpoint: torch.save compresses nothing")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise InputError(f"{path}: not a checkpoint: its members lie within each other")


def _check_pickle(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.file_size > min(_MAX_PICKLE, path.stat().st_size):
        raise InputError(f"{path}: not a checkpoint: {member.filename} is too large")
    content = io.BytesIO(archive.read(member))  # which checks its checksum
    code, is_whole = _code_in(content)
    if code:
        raise _untrusted(path, code)
    if not is_whole:
        raise InputError(f"{path}: not a checkpoint: {member.filename} is not torch.save's")


def _refuse_old_forms(path: Path, file: BinaryIO) -> None:
    """Refuse torch's older pickles and archives that name code; none of them is loaded."""
    file.seek(0)
    pickles = [file.read(_MAX_OLD)]
    file.seek(0)
    with contextlib.suppress(Exception), tarfile.open(fileobj=file, mode="r:") as archive:
        members = itertools.islice(archive, 10)
        pickles += [
            extracted.read(_MAX_OLD)
            for entry in members
            if (extracted := archive.extractfile(entry))
        ]
    for content in map(io.BytesIO, pickles):
        is_whole = True
        while is_whole:  # they come one after the other
            code, is_whole = _code_in(content)
            if code and is_whole:
                raise _untrusted(path, code)


def _code_in(content: BinaryIO) -> tuple[str | None, bool]:
    """Return what a pickle names besides what puts tensors together, and whether it has an end."""
    code, strings = None, ["?", "?"]
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count == _MAX_OPCODES:
                return code, False
            if opcode.name.endswith("UNICODE"):
                strings = [strings[1], str(argument)]
            elif opcode.name == "GLOBAL":
                name = str(argument)
                if not _NAME.fullmatch(name):
                    return code, False  # a text that begins like a pickle
                if name not in _GLOBALS and not _TORCH_TYPE.fullmatch(name):
                    code = code or name
            elif opcode.name in _CALLS:
                code = code or str(argument or " ".join(strings))
    except Exception:  # it is no pickle from here on, whatever pickletools says of it
        return code, False
    return code, True


def _untrusted(path: Path, name: str) -> UntrustedError:
    return UntrustedError(
        f"{path}: refused: it asks for {name.replace(' ', '.')!a}, code that no checkpoint of "
        "mnist_lab names"
    )
