"""Records in tests/golden, one for each processor: which is this machine's, and what differs."""

import contextlib
import json
import os
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
MAX_POINTS = 0.003  # difference of an accuracy on another processor or with other versions
MAX_LOSS = 0.05  # relative difference of a loss there


def key() -> dict[str, str]:
    """Return what bits depend on: processor, instruction set, threads and versions."""
    import torch

    cpu = platform.processor()
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
        cpu = f"{fields['model name']}, family {fields['cpu family']}, model {fields['model']}"
    return {
        "processor": cpu,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": os.environ["OMP_NUM_THREADS"],
        **{name: version(name) for name in ("torch", "lightning", "numpy")},
    }


def compare(part: str, make: Callable[..., dict[str, Any]], only: str) -> list[str]:
    """Return what differs from the record of this machine, one line each.

    What it has no record of is held against the nearest of the others, by figures.
    """
    records = [json.loads(path.read_text()) for path in paths(part)]
    here = key() if records[0]["key"] else None  # of lines torch is not asked
    own = [record for record in records if record["key"] == here]
    now = make((own or records)[0], only)["found"]
    names = {name for record in records for name in record["found"] if re.search(only, name)}
    found = []
    for name in sorted(names | now.keys()):
        there = [record for record in own if name in record["found"]] or records
        if there is records:
            print(f"{part}: {name}: figures are compared, not bits")
        leaves = [
            differences(record["found"].get(name), now.get(name), record in own, name)
            for record in there
        ]
        found += [f"{part}: {line}" for line in min(leaves, key=len)]
    return found


def paths(part: str) -> list[Path]:
    """Return the files of a part's records, of which each processor may have its own."""
    return [GOLDEN / f"{part}.json", *sorted(GOLDEN.glob(f"{part}.*.json"))]


def differences(there: Any, here: Any, is_exact: bool = True, path: str = "") -> list[str]:
    """Return the leaves in which two records differ, one line each.

    Args:
        there: what was recorded.
        here: what there is now.
        is_exact: whether bits are compared; else accuracies and losses may be off a little.
        path: the keys that lead to the two.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [*there, *(name for name in here if name not in there)]
        return [
            line
            for name in keys
            for line in differences(
                there.get(name), here.get(name), is_exact, f"{path}: {name}" if path else name
            )
        ]
    if path.endswith(": files") and there and here:
        gone = [f"{path}: gone: {name}" for name in there if name not in here]
        return gone + [f"{path}: new: {name}" for name in here if name not in there]
    if path.endswith(": rows") and there and here and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return [
            line
            for number, pair in pairs
            for line in differences(*pair, is_exact, f"{path}: {number}")
        ]
    if there == here or (not is_exact and is_near(path, there, here)):
        return []
    return [f"{path}: {there} recorded, {here} now"]


def is_near(path: str, there: Any, here: Any) -> bool:
    """Return whether two leaves are as alike as other rounding leaves them."""
    if ": sha256: " in path:
        return True
    if not isinstance(there, float) or not isinstance(here, float):
        return False
    if "loss" in path:
        return abs(there - here) <= MAX_LOSS * abs(there)
    # One class has a tenth of the images.
    return abs(there - here) <= MAX_POINTS * (10 if "acc_class" in path else 1)


def write(part: str, record: dict[str, Any], only: str) -> None:
    """Write what was found as JSON; what was not asked for stays as it was recorded.

    On another processor, or with other versions, a record is a file beside the others.
    """
    path = GOLDEN / f"{part}.json"
    there = {path: json.loads(path.read_text("utf-8")) for path in paths(part) if path.exists()}
    same = [path for path, before in there.items() if before["key"] == record["key"]]
    if same:
        path = same[0]
    elif there:
        processor = "-".join(re.findall(r"[a-z0-9]+", record["key"]["processor"].lower()))
        path = GOLDEN / f"{part}.{processor}.json"
    if only:
        if not same:
            raise SystemExit(f"{path}: is not there yet; record all of it")
        record["found"] = there[path]["found"] | record["found"]
    text = json.dumps(record, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
