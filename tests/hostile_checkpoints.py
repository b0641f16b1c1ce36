"""Checkpoint files that are damaged or of ill will, each made from a good one."""

import builtins
import functools
import gzip
import io
import os
import pickle
import shutil
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from door import COMMAND
from filelock import FileLock

START = [
    *("train", "model=softmax", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=16"),
    *("trainer.limit_train_batches=40", "trainer.limit_val_batches=1"),
    *("trainer.limit_test_batches=1", "trainer.enable_model_summary=false", "logger=csv"),
    *("callbacks.checkpoint.every_n_steps=10", "~callbacks.pictures"),
]


def unfinished_run(factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that was killed after its second checkpoint.

    The processes that run the tests share it; none may write there.
    """
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
    folder = (shared or factory.getbasetemp()) / "unfinished"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "run").exists():
            _start_and_kill(folder / "partial")
            (folder / "partial").rename(folder / "run")
    return folder / "run"


def _start_and_kill(run_dir: Path) -> None:
    for _ in range(5):
        shutil.rmtree(run_dir, ignore_errors=True)
        process = subprocess.Popen(
            [COMMAND, *START, f"hydra.run.dir={run_dir}"], stdout=subprocess.DEVNULL
        )
        while process.poll() is None and not (run_dir / "checkpoints/previous.ckpt").exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
        # The kill may have come while a file was replaced, which other tests are about.
        both = [run_dir / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
        if all(path.exists() for path in both) and not (run_dir / "metrics.json").exists():
            return
    raise AssertionError("the run was never killed in time")


# --- damage to the bytes


def damaged(good: bytes) -> dict[str, bytes]:
    """Return damaged copies of a checkpoint by what was done to them."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {one.filename.partition("/")[2]: one for one in archive.infolist()}
        directory = archive.start_dir
    pickled, end = members["data.pkl"], len(good) - 22
    largest = max(members.values(), key=lambda one: one.file_size)
    tensor = largest.header_offset + 200 + largest.file_size // 2
    number = good.index(b"archive/data/1", directory) + len(b"archive/data/")
    flips = {
        "magic": 0,
        "method in the first header": 8,
        "length of the first name": 26,
        "start of the pickle": pickled.header_offset + 100,
        "middle of the pickle": pickled.header_offset + pickled.file_size // 2,
        "end of the pickle": pickled.header_offset + pickled.file_size,
        "tensor": tensor,
        "last tensor": members["data/8"].header_offset + 500,
        "directory's magic": directory,
        "flags in the directory": directory + 8,
        "method in the directory": directory + 10,
        "checksum in the directory": directory + 16,
        "size in the directory": directory + 24,
        "offset in the directory": directory + 42,
        "number of a tensor": number,
        "end's magic": end,
        "number of members": end + 10,
        "place of the directory": end + 16,
    }
    half = len(good) // 2
    return {
        "empty": b"",
        **{f"cut to {size}": good[:size] for size in (1, 4, 30, 1000, 5000)},
        "cut to half": good[:half],
        **{f"cut by {size}": good[:-size] for size in (1, 22, 100, 1000)},
        **{f"flipped {place}": _flipped(good, at) for place, at in flips.items()},
        "zeros": bytes(len(good)),
        "zeros from the middle on": good[:half] + bytes(len(good) - half),
        "a sector of zeros": good[:4096] + bytes(4096) + good[8192:],
        "text": b"checkpoint of the run\nwhich is not here\n.",
        "noise": np.random.default_rng(0).bytes(len(good)),
        "gzipped": gzip.compress(good, 1),
        "something before it": b"\0" * 64 + good,
        "something after it": good + b"\0" * 64,
        "another archive": _zipped({"hello.txt": b"hello"}),
    }


def _flipped(good: bytes, at: int) -> bytes:
    return good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :]


def _zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


# --- whole files with something else in them


class Missing:
    """Stands for a key that is to be taken away."""


NEEDED = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "callbacks")
NEEDED += ("optimizer_states", "lr_schedulers", "mnist_lab")
NOT_NEEDED = ("loops", "hparams_name")  # of what a run goes on from
OPTIMIZER = "optimizer_states.0"
RANDOM = "mnist_lab.ranks.0.random"
CHANGES: dict[str, tuple[str, Any]] = {
    **{f"without {key}": (key, Missing) for key in NEEDED},
    **{f"{key} is text": (key, "nonsense") for key in NEEDED},
    "state_dict holds a number": ("state_dict.net/1/weight", 1.0),
    "weights of another shape": ("state_dict.net/1/weight", torch.zeros(3, 784)),
    "weights of another name": ("state_dict.net/2/weight", torch.zeros(10, 784)),
    "negative epoch": ("epoch", -1),
    "version is none": ("pytorch-lightning_version", "nonsense.1"),
    "best score is text": ("callbacks.Checkpoint.best_score", "high"),
    "no group": (f"{OPTIMIZER}.param_groups", []),
    "lr is text": (f"{OPTIMIZER}.param_groups.0.lr", "fast"),
    "one beta": (f"{OPTIMIZER}.param_groups.0.betas", [0.9]),
    "momentum of another shape": (f"{OPTIMIZER}.state.0.exp_avg", torch.zeros(1)),
    "momentum of a huge shape": (f"{OPTIMIZER}.state.0.exp_avg", torch.zeros(1).expand(10**12)),
    "no momentum": (f"{OPTIMIZER}.state.0.exp_avg", Missing),
    "steps of a shape": (f"{OPTIMIZER}.state.0.step", torch.zeros(9)),
    "schedule hides a method": ("lr_schedulers.0.step", 1),
    "schedule before the start": ("lr_schedulers.0.last_epoch", -9),
    "negative step": ("mnist_lab.step", -1),
    "step is a fraction": ("mnist_lab.step", 2.5),
    "step is true": ("mnist_lab.step", True),
    "step without an end": ("mnist_lab.step", 10**600),
    "no batch": ("mnist_lab.batch", Missing),
    "batch beyond all": ("mnist_lab.batch", 10**9),
    "is_finished is text": ("mnist_lab.is_finished", "no"),
    "no ranks": ("mnist_lab.ranks", []),
    "ranks are numbers": ("mnist_lab.ranks", [1]),
    "random state of another size": (f"{RANDOM}.torch", torch.zeros(7, dtype=torch.uint8)),
    "random state of another kind": (f"{RANDOM}.python", (3, (1, 2), None)),
    "numpy's random state of another size": (f"{RANDOM}.numpy", ("MT19937", torch.ones(3), 0, 0)),
    "numpy's random state beyond its end": (
        f"{RANDOM}.numpy",
        ("MT19937", torch.ones(624, dtype=torch.int64), 10**6, 0, 0.0),
    ),
    "numpy's random state before its start": (
        f"{RANDOM}.numpy",
        ("MT19937", torch.ones(624, dtype=torch.int64), -5, 0, 0.0),
    ),
    "no random state": (RANDOM, Missing),
    "sums of another shape": ("mnist_lab.ranks.0.running.sums", torch.zeros(2)),
    "random state of the data is text": ("mnist_lab.ranks.0.data_random", "nonsense"),
    "what was logged is a number": ("mnist_lab.ranks.0.logged", [1]),
    "what was logged has other settings": (
        "mnist_lab.ranks.0.logged",
        [{"meta": {"fx": "f", "name": "n", "sync_dist_fn": "f"}, "sums": {}}],
    ),
    "metrics are text": ("mnist_lab.metrics", {"val/acc": "high"}),
    "log elsewhere": ("mnist_lab.logs", [{"../../x": 0}]),
    "log is text": ("mnist_lab.logs", [{"metrics.csv": "all"}]),
    "log below its start": ("mnist_lab.logs", [{"metrics.csv": -1}]),
}


def changed(checkpoint: Any, place: str, value: Any) -> Any:
    """Return a checkpoint with another value at a place, which is keys with dots between them."""
    *before, last = (_key(part) for part in place.split("."))
    node = checkpoint = _copied(checkpoint)
    for key in before:
        node = node[key]
    if value is Missing:
        del node[last]
    else:
        node[last] = value
    return checkpoint


def _key(part: str) -> Any:
    return int(part) if part.isdecimal() else part.replace("/", ".")


def _copied(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(one) for one in node] if isinstance(node, list) else node


def saved(content: Any, **options: Any) -> bytes:
    """Return what ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


# --- ill will

HOSTILE = (
    *(f"pickle {protocol} of os.system" for protocol in (0, 1, 2, 4, 5)),
    *(f"zipped pickle {protocol} of exec" for protocol in (0, 1, 2, 4, 5)),
    *("pickle of subprocess", "pickle of eval", "pickle by INST", "pickle by OBJ"),
    *("zipped pickle by EXT", "os.system", "os.system in hyper_parameters.init"),
    *("os.system in state_dict.net/1/weight", "os.system in mnist_lab.step", "os.system in extra"),
    *("torch.load", "partial", "partial in data.pkl", "numpy", "import", "file of old"),
    *("checkpoint of old", "archive of old", "compressed", "two pickles", "two cases"),
    *("TorchScript", "_instantiator", "_class_path", "tensor of another class", "sparse tensor"),
    *("doubled bytes", "bytearray", "storage", "meta"),
)
NEED_TORCH = {"_instantiator", "_class_path"}  # to be found: they are text, and no code by itself
BOMBS = (
    *("layers of any width", "layers without an end", "classes", "tensor of one number"),
    *("one tensor many times", "lists of lists", "nested", "many lists", "compressed zeros"),
    *("compressed tensor", "archive in an archive", "members within each other"),
    *("absolute names", "names above"),
)
ONLY_EVALUATED = {"layers of any width", "layers without an end"}  # a run has its own settings


class Call:
    """Pickles as a call, which is made by whoever loads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(good: bytes, canary: Path) -> Iterator[tuple[str, bytes]]:
    """Yield checkpoints that would touch the canary if anything in them were run."""
    touch = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w')"
    system = Call(os.system, touch)
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)
    members = _members(good)

    def zipped_pickle(content: bytes) -> bytes:
        return _zipped({**members, "archive/data.pkl": content})

    for protocol in (0, 1, 2, 4, 5):
        yield f"pickle {protocol} of os.system", pickle.dumps(system, protocol)
        yield (
            f"zipped pickle {protocol} of exec",
            zipped_pickle(pickle.dumps(Call(builtins.exec, code), protocol)),
        )
    yield "pickle of subprocess", pickle.dumps(Call(subprocess.Popen, ["touch", str(canary)]), 2)
    yield "pickle of eval", pickle.dumps(Call(builtins.eval, code), 2)
    yield "pickle by INST", f"(S'{touch}'\nios\nsystem\n.".encode()
    yield "pickle by OBJ", f"(cos\nsystem\nS'{touch}'\no.".encode()
    yield "zipped pickle by EXT", zipped_pickle(b"\x80\x02\x82\x01)R.")
    yield "os.system", saved(system)
    for place in ("hyper_parameters.init", "state_dict.net/1/weight", "mnist_lab.step", "extra"):
        yield f"os.system in {place}", saved(changed(checkpoint, place, system))
    yield "torch.load", saved({"state_dict": Call(torch.load, str(canary), None, None)})
    yield "partial", saved({"state_dict": {}, "x": functools.partial(os.system, touch)})
    yield "partial in data.pkl", zipped_pickle(pickle.dumps(functools.partial(os.system, touch), 2))
    yield "numpy", saved({"state_dict": {}, "x": np.array([system], dtype=object)})
    yield "import", saved_import("boobytrapped", "boom")
    yield "file of old", saved(system, _use_new_zipfile_serialization=False)
    yield (
        "checkpoint of old",
        saved(changed(checkpoint, "extra", system), _use_new_zipfile_serialization=False),
    )
    yield "archive of old", _tar({"pickle": pickle.dumps(system, 2)})
    yield "compressed", _zipped({"a/data.pkl": pickle.dumps(system, 2)}, zipfile.ZIP_DEFLATED)
    yield "two pickles", _two_pickles(members, pickle.dumps(system, 2))
    yield "two cases", _zipped({**members, "archive/DATA.PKL": pickle.dumps(system, 2)})
    yield (
        "TorchScript",
        _zipped(
            {
                "a/data.pkl": b"\x80\x02}.",
                "a/constants.pkl": pickle.dumps(system, 2),
                "a/version": b"3",
            }
        ),
    )
    yield (
        "_instantiator",
        saved(
            changed(
                checkpoint, "hyper_parameters._instantiator", "lightning.pytorch.cli.instantiate"
            )
        ),
    )
    yield "_class_path", saved(changed(checkpoint, "hyper_parameters._class_path", "os.system"))
    yield "tensor of another class", saved(changed(checkpoint, "extra", Subclass(torch.ones(2))))
    yield "sparse tensor", saved(changed(checkpoint, "extra", torch.eye(3).to_sparse()))
    # Called with numbers, these would take any amount of memory; torch's own reader allows them.
    yield "doubled bytes", zipped_pickle(_doubled(40))
    yield "bytearray", zipped_pickle(b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\0\0\0\0\x04\x85R.")
    yield (
        "storage",
        zipped_pickle(b"\x80\x02ctorch.storage\nUntypedStorage\n\x8a\x05\0\0\0\0\x04\x85R."),
    )
    yield "meta", saved({"state_dict": {"x": torch.empty(10**13, device="meta")}})


def bombs(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield checkpoints that name no code, and stand for more than any memory."""
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)
    members = _members(good)
    name = "archive/data.pkl"
    for place, value in {
        "layers of any width": [10**6] * 1000,
        "layers without an end": [1] * 100_000,
    }.items():
        settings = checkpoint["hyper_parameters"] | {"hidden_dims": value}
        yield place, saved(changed(checkpoint, "hyper_parameters", settings))
    classes = 5_000  # of which the metrics count each pair
    wide = changed(checkpoint, "hyper_parameters.num_classes", classes)
    weights = {"net.1.weight": torch.zeros(classes, 784), "net.1.bias": torch.zeros(classes)}
    yield "classes", saved(changed(wide, "state_dict", weights))
    huge = torch.zeros(1).expand(10**12)
    yield "tensor of one number", saved(changed(checkpoint, "state_dict.net/1/weight", huge))
    one = torch.zeros(10**6)
    yield "one tensor many times", saved({"state_dict": {str(i): one for i in range(10_000)}})
    yield "lists of lists", saved(changed(checkpoint, "extra", _laughs(40)))
    yield "nested", _zipped({**members, name: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."})
    yield "many lists", _zipped({**members, name: b"\x80\x02(" + b"]" * 2_000_000 + b"l."})
    yield "compressed zeros", _zipped({**members, name: bytes(10**8)}, zipfile.ZIP_DEFLATED)
    yield (
        "compressed tensor",
        _zipped({**members, "archive/data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED),
    )
    yield "archive in an archive", _zipped({**members, name: good})
    yield "members within each other", _overlapping(good)
    yield "absolute names", _zipped({f"/{key}": value for key, value in members.items()})
    yield "names above", _zipped({f"../{key}": value for key, value in members.items()})


class Subclass(torch.Tensor):
    """A tensor of somebody's own class."""


def saved_import(module: str, name: str) -> bytes:
    """Return a checkpoint that names what only its author has."""
    pickled = f"\x80\x02c{module}\n{name}\n)R.".encode("latin-1")
    return _zipped({"archive/data.pkl": pickled, "archive/version": b"3"})


def _members(good: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _two_pickles(members: dict[str, bytes], other: bytes) -> bytes:
    # zipfile warns of a second one of a name, so that it gets its name afterwards.
    content = _zipped({**members, "archive/data.pkx": other})
    return content.replace(b"archive/data.pkx", b"archive/data.pkl")


def _doubled(times: int) -> bytes:
    """Return a pickle that writes a text in hexadecimal, and what comes of it, again and again."""
    start = b"\x80\x02c_codecs\nencode\nq\0X\x01\0\0\0a"
    latin = b"X\x06\0\0\0latin1\x86R"
    again = b"q\x01h\0h\x01X\x03\0\0\0hex\x86R"
    return start + latin + again * times + b"."


def _laughs(depth: int) -> list[Any]:
    node: list[Any] = []
    for _ in range(depth):
        node = [node, node]
    return node


def _overlapping(good: bytes) -> bytes:
    """Have every member but the pickle be the largest one, whose bytes are there once."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members, directory = archive.infolist(), archive.start_dir
    largest = max(members, key=lambda one: one.file_size)
    content, place = bytearray(good), directory
    for one in members:
        if "/data/" in one.filename:
            sizes = struct.pack("<LLL", largest.CRC, largest.file_size, largest.file_size)
            content[place + 16 : place + 28] = sizes
            content[place + 42 : place + 46] = struct.pack("<L", largest.header_offset)
        name, extra, comment = struct.unpack("<HHH", content[place + 28 : place + 34])
        place += 46 + name + extra + comment
    return bytes(content)
