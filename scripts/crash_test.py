"""Kills training processes, resumes their runs, and compares them with runs that nobody stopped.

``scripts/crash_test.py --kills 100`` kills at random instants, ``--each 10`` so often a run of each
case: callbacks, precisions, optimizers, schedules, in twelve processes of seconds for each of its
22 cases. ``--recipes``, ``--saves``, ``--signals``, ``--disk``, ``--ranks``, ``--races`` and
``--searches`` say how often the other parts are to be done: kills of the records' recipes, and
inside a save, SIGTERM and SIGINT, full disks (needs root), a rank of two, two processes on one
directory, searches in stacks. Run it with the Python that mnist_lab is installed in.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> int:
    """Run the parts that were asked for; return 1 if anything differed."""
    from crash_rows import parts
    from crash_rows.runner import References, warm_up

    parser = argparse.ArgumentParser(description=__doc__)
    for part, function in parts.PARTS.items():
        text = (function.__doc__ or "").splitlines()[0]
        parser.add_argument(f"--{part}", type=int, default=0, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=0, help="draws the instants")
    parser.add_argument("--json", type=Path, help="file for the counts")
    parser.add_argument("--folder", type=Path, help="where the runs are kept; else they go")
    options = parser.parse_args()
    random.seed(options.seed)
    warm_up()
    with tempfile.TemporaryDirectory(prefix="mnist_lab_crash_") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        references = References(folder)
        report: dict[str, Any] = {"seed": options.seed}
        for part, function in parts.PARTS.items():
            if count := getattr(options, part):
                start = time.monotonic()
                found = function(folder, references, count)
                report[part] = found | {"seconds": round(time.monotonic() - start)}
                print(f"{part}: {report[part]}", flush=True)
                if options.json:
                    parts.write(options.json, report)
    return int(any(parts.has_problems(one) for one in report.values()))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
