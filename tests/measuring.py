"""What an act in this process costs."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CAN_MEASURE = sys.platform == "linux"  # memory


def measured(act: Callable[[], T]) -> tuple[T, float, float]:
    """Return what an act returns, the seconds on a core that it took, and the megabytes more."""
    before, start = _forget_peak() if CAN_MEASURE else 0.0, time.process_time()
    found = act()
    peak = _peak_megabytes() if CAN_MEASURE else 0.0
    return found, time.process_time() - start, peak - before


def _peak_megabytes() -> float:
    """Return the most memory that this process has held since ``_forget_peak``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("Linux has this")


def _forget_peak() -> float:
    """Count the most memory from now on; return what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_megabytes()
