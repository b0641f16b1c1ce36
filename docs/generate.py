"""Pages of what conf/, the schemas and the command say, written anew by each build of the site."""

import contextlib
import importlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_lab.cli.main import VERBS
from mnist_lab.cli.train_help import Knob, group_knobs, knobs
from mnist_lab.config.options import CONF, choices, groups
from mnist_lab.config.schema import Train
from mnist_lab.config.sweep_schema import LAUNCHERS, LearningRates, Settings


def write(root: Path, folder: Path) -> None:
    """Write all pages.

    Args:
        root: the checkout.
        folder: where they go; what was there goes first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("config", "benchmarks"):
        (folder / name).mkdir(parents=True)
    names = sorted(groups(CONF))
    pages = {f"config/{group}": _group(group) for group in names}
    pages["config/index"] = _index(names)
    pages["config/launcher"] = _launchers()
    pages["commands"] = _commands()
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    pages["changelog"] = iter([changelog.replace("](docs/", "](../")])
    for path in sorted((root / "benchmarks").glob("*.md")):
        pages[f"benchmarks/{path.stem}"] = iter(
            ["---\norphan: true\n---\n", path.read_text("utf-8")]
        )
    for name, lines in pages.items():
        (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _index(names: list[str]) -> Iterator[str]:
    yield "# Config: groups and keys\n"
    yield "`mnist-lab train GROUP=CHOICE KEY=VALUE` chooses files of `conf/` and sets their keys.\n"
    yield "| group | choices |\n| --- | --- |"
    for name in names:
        listed = ", ".join(f"`{choice}`" for choice in sorted(choices(name)))
        yield f"| [`{name}`]({name}.md) | {listed} |"
    listed = ", ".join(f"`{name}`" for name in ("basic", *LAUNCHERS))
    yield f"| [`hydra/launcher`](launcher.md) | {listed} |"
    yield "\n## Keys of the run\n"
    yield from _table(knobs("", [Train]))
    yield "\n```{toctree}\n:hidden:\n"
    yield from [*names, "launcher"]
    yield "```"


def _group(group: str) -> Iterator[str]:
    yield f"# {group}\n\n## Choices\n"
    for choice, text in sorted(choices(group).items()):
        yield f"### {group}={choice}\n\n{_plain(text)}\n"
        content = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8").strip()
        yield f"```yaml\n{content}\n```\n"
    found = list(knobs("hydra.sweeper.", [Settings]) if group == "sweep" else group_knobs(group))
    if found:
        yield "## Keys\n"
        yield from _table(found)
    if group == "sweep":
        yield "\n## Keys of sweep=lr_range\n"
        yield from _table(knobs("hydra.sweeper.", [LearningRates]))


def _launchers() -> Iterator[str]:
    yield "# hydra/launcher\n\nWhat starts the trials of a sweep."
    yield "`basic`, one after the other, has no keys.\n"
    for name, schema in LAUNCHERS.items():
        yield f"## hydra/launcher={name}\n\n{_plain(str(schema.__doc__))}\n"
        yield from _table(knobs("hydra.launcher.", [schema]))


def _commands() -> Iterator[str]:
    yield "# Commands\n\n`mnist-lab VERB --help` says the same.\n"
    for verb, text in VERBS.items():
        yield f"## mnist-lab {verb}\n\n{text[0].upper()}{text[1:]}.\n"
        if verb != "train":
            yield f"```text\n{_help(verb)}\n```\n"
        else:
            yield "Its keys are [the config](config/index.md).\n"


def _help(verb: str) -> str:
    module = importlib.import_module(f"mnist_lab.cli.{verb}")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        module.main(["--help"])
    return out.getvalue().strip()


def _table(found: Any) -> Iterator[str]:
    yield "| key | default | |\n| --- | --- | --- |"
    for knob in found:
        yield _row(knob)
    yield ""


def _row(knob: Knob) -> str:
    return f"| `{knob.key}` | {_code(knob.default)} | {_plain(knob.text)} |"


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _plain(text: str) -> str:
    """Return a text as Markdown that looks as it reads."""
    for sign in "\\`*_[]<>$":
        text = text.replace(sign, f"\\{sign}")
    return _cell(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
