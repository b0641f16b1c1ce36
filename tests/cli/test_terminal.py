"""Text of others is shown and not obeyed, under every encoding, and no name is cut off."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from door import main
from made_runs import make_run

from mnist_lab.cli.predict import _cells
from mnist_lab.cli.terminal import say, say_table
from mnist_lab.errors import ConfigError, InputError, first_line, printable
from mnist_lab.inference.predict import Prediction

HOSTILE = {
    "colour": "\x1b[31m",
    "clear": "\x1b[2J",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://x\x1b\\",
    "csi": "\x9b31m",
    "return": "\rreproduced",
    "backspace": "\b\b\b",
    "bell": "\x07",
    "delete": "\x7f",
    "right to left": "\u202e",
    "isolate": "\u2066",
    "zero width": "\u200b",
    "line": "\nmnist-lab: fine",
    "separator": "\u2028",
    "surrogate": "\udcff",
    "nul": "\x00",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_only_shows(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (
        printable(f"a{text}b"),
        printable(Path(f"a{text.replace(chr(0), '')}b")),
        str(InputError(f"a{text}b: cannot be read")),
        first_line(ValueError(f"a{text}b")),
    ):
        assert shown.isprintable()
        assert shown.startswith("a")
    say(f"a{text}b")
    say(f"a{text}b", to_stderr=True)
    for stream in capsys.readouterr():
        assert stream.count("\n") == 1
        assert stream.strip().isprintable()


@pytest.mark.parametrize("text", [text for text in HOSTILE.values() if text != "\udcff"])
def test_tables_only_show(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_table(["", f"name{text}"], [[f"a{text}b", f"cell{text}end"]])
    out = capsys.readouterr().out
    assert out.count("\n") == 3
    assert out.replace("\n", "").isprintable()
    assert not set(out) & set("\x1b\x9b\x07\x08\r\x7f\x00\u202e\u2066")


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("text", ["\x1b[31mred", "\u202egpj", "\x9b2J", "\rNOT"])
def test_a_strangers_runs_in_verbs(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        run = make_run(Path(f"runs/{number}{text}"), number, 0.9)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["model"]["activation"] = f"{text}{number}"
        config[f"key{text}"] = number
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        metrics = json.loads((run / "metrics.json").read_text())
        (run / "metrics.json").write_text(json.dumps(metrics | {f"val/{text}": 1.0}))
    manifest = {"state": text, "sha256": {text: 5}, "attempts": [{"error": text}]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    for words in (
        ["report", "runs"],
        ["report", "runs", "--csv"],
        ["report", "runs", "--compare", text, "9"],
        *([verb, f"runs/1{text}"] for verb in ("evaluate", "resume", "verify", "export")),
        ["predict", f"runs/0{text}", f"x{text}.png"],
        ["train", f"hydra.run.dir={text}"],
        ["train", f"--config-dir={text}"],
        [text],
    ):
        assert main(words) in (0, 2, 3, 4)
        for stream in capsys.readouterr():
            assert not set(stream) & set("\x1b\x9b\r\u202e"), (words, stream)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", [["report"], ["report", "--csv"], ["report", "--json"]])
def test_every_encoding(
    encoding: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        make_run(tmp_path / "日本 ö" / str(seed), seed, 0.9 + seed / 100)
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    assert main([*words, str(tmp_path)]) == 0
    sys.stdout.flush()
    out = buffer.getvalue().decode(encoding)
    assert "2" in out
    if not words[1:]:
        assert encoding == "utf-8" or ("----" in out and "\\u2500" not in out)
        assert ("±" in out) == (encoding != "ascii")
        assert "\\xb1" not in out
    if words[1:] == ["--json"]:
        assert "日本 ö" in json.loads(out)["rows"][0]["directories"][0]


def a_prediction(name: str) -> Prediction:
    pixels: Any = np.zeros((28, 28), np.uint8)
    return Prediction(name, 1, 1, 7, 0.99, 1, 0.01, "", (), pixels)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_names_can_be_told_apart(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mnist_lab.cli.terminal._FILE_WIDTH", columns)
    names = [f"scans/2026-11/notebook-of-somebody/page-with-a-long-name-{n}.png" for n in range(5)]
    headings = ["file", "digit", "probability", "runner-up", ""]
    say_table(headings, [_cells(a_prediction(name)) for name in names], headings[1:4])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    text = "".join(line.strip() for line in lines)
    assert [name for name in names if name not in text] == []


def test_an_error_is_an_error_still() -> None:
    with pytest.raises(ConfigError, match=r"^a\\x1bb$"):
        raise ConfigError("a\x1bb")


def test_a_reader_of_a_table_that_goes_away_is_no_error() -> None:
    code = """
import sys
from mnist_lab.cli import main, report
from mnist_lab.cli.terminal import say_table

sys.stdin.read()
report.main = lambda _: say_table(["a"], [["table"]])
sys.exit(main.main(["report"]))
"""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert (process.wait(timeout=300), process.stderr.read()) == (0, "")
