"""Command lines drawn from the grammar of overrides, right and wrong ones, by a seed."""

import random
from collections.abc import Iterator

from mnist_lab.cli.main import VERBS
from mnist_lab.config.messages import known_keys
from mnist_lab.config.options import choices, groups

_WORDS = (
    "null",
    "true",
    "0",
    "-1",
    "3",
    "0.5",
    "1e-3",
    "1e999",
    "nan",
    "-inf",
    "123456789012345678901234567890",
    "val/loss",
    "min",
    "auto",
    "cpu",
    "relu",
    "'a b'",
    '"a\\"b"',
    "it's",
    '"open',
    "a b",
    "a=b",
    "a:b",
    "#a",
    "~/x",
    "é",
    "\u201ca\u201d",
    "\x1b[31m",
    "a\nb",
    "a\rb",
    "",
    "???",
    "${seed}",
    "${nope}",
    "${oc.env:NOPE}",
    "${hydra:job.num}",
    "${model}",
    "${seed",
    "${oc.decode:[}",
    "${trainer.max_epochs}",
    "$seed",
    "\\${seed}",
)
_HYDRA = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.job.name",
    "hydra.job.chdir",
    "hydra.mode",
    "hydra.verbose",
    "hydra.output_subdir",
    "hydra.searchpath",
    "hydra.sweeper.n_trials",
    "hydra.sweeper.params",
    "hydra.launcher.n_jobs",
    "hydra.job_logging",
    "hydra/launcher",
    "hydra/sweeper",
    "hydra",
)
_OTHERS = ("nope", "model.nope", "a.b.c", "model.", ".model", "model/x", "é", "1", "")
_FLAGS = (
    "--cfg job",
    "--info",
    "--resolve",
    "--nope",
    "-x",
    "--package model",
    "--config-dir nope",
)


def drawn(number: int, seed: int) -> list[list[str]]:
    """Return a number of command lines, the same for the same seed."""
    draw = random.Random(seed)
    return [list(_line(draw)) for _ in range(number)]


def _line(draw: random.Random) -> Iterator[str]:
    verb = "train" if draw.random() < 0.75 else draw.choice([*VERBS, "nope"])
    yield verb
    if verb != "train":
        yield from draw.sample(["missing", ".", "file.txt"], draw.randint(0, 2))
        yield from draw.sample(["--json", "--csv", "--html", "-x", "--"], draw.randint(0, 1))
    elif draw.random() < 0.3:
        yield "-m"
    if verb == "train" and draw.random() < 0.05:
        yield from draw.choice(_FLAGS).split()
    for _ in range(draw.randint(0, 3)):
        yield _override(draw)


def _override(draw: random.Random) -> str:
    sign = draw.choices(["", "+", "++", "~", "--"], [70, 10, 8, 8, 4])[0]
    if draw.random() < 0.3:
        key = draw.choice(groups())
        value = draw.choice(list(choices(key))) if draw.random() < 0.5 else _value(draw)
    else:
        key = draw.choice([*known_keys(), *_HYDRA, *_OTHERS])
        value = _value(draw)
    place = draw.choices(["", "@x", "@_global_", ":y", "@a:b"], [90, 4, 2, 2, 2])[0]
    if draw.random() < 0.05:
        return sign + key + place
    return f"{sign}{key}{place}={value}"


def _value(draw: random.Random, depth: int = 0) -> str:
    kind = draw.random() if depth < 3 else 0.0
    if kind < 0.6:
        return draw.choice(_WORDS)
    values = [_value(draw, depth + 1) for _ in range(draw.randint(0, 3))]
    if kind < 0.72:
        return f"[{','.join(values)}]"
    if kind < 0.78:
        return "{" + ",".join(f"{draw.choice('abc')}:{value}" for value in values) + "}"
    if kind < 0.9:
        return ",".join(values)
    name = draw.choice(
        ["range", "choice", "interval", "glob", "int", "shuffle", "sort", "tag", "f"]
    )
    return f"{name}({','.join(values)})"
