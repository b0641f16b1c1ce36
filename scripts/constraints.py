"""Prints constraints for pip: scripts/constraints.py --lowest|--next, for scripts/test.

``--hashed REPORT`` prints what pip's report of a dry run names, with hashes and no addresses:
``pip install --dry-run --ignore-installed --report R -c constraints.txt '.[dev]'`` writes one.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEXT = {"hydra-core": "1.4.0rc3", "omegaconf": "2.4.1rc1"}


def lowest() -> dict[str, str]:
    """Return the lower bounds of pyproject.toml, those of the benchmarks apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + [
        text for name in extras if name != "bench" for text in extras[name]
    ]
    return dict(re.findall(r"^([\w.-]+)>=([\d.]+)", "\n".join(texts), re.MULTILINE))


def candidates() -> dict[str, str]:
    """Return the pinned versions, with the candidates for Hydra's next one among them."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    return pinned | NEXT


def hashed(report: Path) -> list[str]:
    """Return a line for each package of a report, the project apart, for ``--require-hashes``."""
    lines = []
    for found in json.loads(report.read_text(encoding="utf-8"))["install"]:
        if "archive_info" in found["download_info"]:
            sha256 = found["download_info"]["archive_info"]["hashes"]["sha256"]
            name, version = (found["metadata"][key] for key in ("name", "version"))
            lines.append(f"{name}=={version} --hash=sha256:{sha256}")
    return sorted(lines, key=str.lower)


if __name__ == "__main__":
    if sys.argv[1] == "--hashed":
        print("\n".join(hashed(Path(sys.argv[2]))))
        sys.exit()
    versions = {"--lowest": lowest, "--next": candidates}[sys.argv[1]]()
    print("\n".join(f"{name}=={version}" for name, version in versions.items()))
