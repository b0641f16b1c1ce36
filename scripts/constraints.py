"""Prints constraints for pip: scripts/constraints.py --lowest|--next, for scripts/test."""

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


if __name__ == "__main__":
    versions = {"--lowest": lowest, "--next": candidates}[sys.argv[1]]()
    print("\n".join(f"{name}=={version}" for name, version in versions.items()))
