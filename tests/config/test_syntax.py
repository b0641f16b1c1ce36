"""Values that must be quoted: the line says what to type instead, and that means what was meant."""

import shlex
from pathlib import Path

import pytest
from door import main

from mnist_lab.config import hydra_internals
from mnist_lab.config.overrides import parse_overrides
from mnist_lab.errors import ConfigError

HOME = "/home/a b"
# What is typed, and the value that was meant.
MEANT: dict[str, object] = {
    "data.root=~/x": f"{HOME}/x",
    "data.root=~": HOME,
    "hydra.run.dir=~/a=b": f"{HOME}/a=b",
    "hydra.run.dir=a=b": "a=b",
    "data.root=/tmp/a=b": "/tmp/a=b",
    "data.root=/tmp/x (1)": "/tmp/x (1)",
    "data.root=/tmp/x[1]": "/tmp/x[1]",
    "data.root=/tmp/x{1}": "/tmp/x{1}",
    "data.root=(x)": "(x)",
    "data.root={a": "{a",
    "data.root=/tmp/[x": "/tmp/[x",
    "data.root=/tmp/ö": "/tmp/ö",
    "data.root=Größe": "Größe",
    "hydra.run.dir=日本": "日本",
    "data.root=/tmp/🎉": "/tmp/🎉",
    "data.root=/tmp/x\r": "/tmp/x",
    "model=mlp\r": "mlp",
    "seed=1\r": 1,
    "seed=1\r\n": 1,
    " seed=1": 1,
    "data.root=\u201c/tmp/x\u201d": "/tmp/x",
    "data.root=\u2018x y\u2019": "x y",
    "data.root=\u201ex\u201c": "x",
    "\u201cdata.root=/tmp/x\u201d": "/tmp/x",
    "'seed=3'": 3,
    "data.root=\u00abx\u00bb": "x",
    "data.root=it's": "it's",
    "data.root=it\u2019s": "it\u2019s",
    'data.root="x': "x",
    "data.root='x": "x",
    'data.root=a"b': 'a"b',
    "data.root=a'b\"c": "a'b\"c",
    "data.root=x#y": "x#y",
    "data.root=x;y": "x;y",
    "data.root=x&y": "x&y",
    "data.root=x!y": "x!y",
    "data.root=<x>": "<x>",
    "data.root=`x`": "`x`",
    "data.root=x^y": "x^y",
    "data.root=a\\'b": "a\\'b",
    "optimizer.lr=1e\u22123": 1e-3,
    "optimizer.lr=\u22121": -1,
    "optimizer.lr=1e\u20133": 1e-3,
    "seed=\uff13": 3,
    "seed==3": 3,
    "seed:3": 3,
    "optimizer.lr:=1": 1,
    "optimizer..lr=1": 1,
    "model.hidden_dims=[1,2": [1, 2],
    "model.hidden_dims=1,2]": [1, 2],
    "model.hidden_dims=(1,2)": [1, 2],
    "model.hidden_dims=[1;2]": [1, 2],
    "model.hidden_dims={512,256}": [512, 256],
    "model.hidden_dims=[[1,2]": [1, 2],
}
DASHED = {
    "--optimizer.lr=0.1": "optimizer.lr=0.1",
    "--model=cnn": "model=cnn",
    "--model cnn": "model=VALUE",
    "-model=cnn": "model=cnn",
    "--lr=0.1": "optimizer.lr=0.1",
    "--seed=3": "seed=3",
    "--data.root='a b'": "'data.root=a b'",
    "--max_epochs=3": "trainer.max_epochs=3",
    "--trainer.devices 2": "trainer.devices=VALUE",
    "--hydra.run.dir=x": "hydra.run.dir=x",
}
# What nothing can be said instead of, and words of the line.
OTHER = {
    "ö=1": "must be KEY=VALUE",
    "a b=1": "must be KEY=VALUE",
    "seed=${model": "must be KEY=VALUE",
    **(
        {"model.hidden_dims[0]=5": "a list is given as a whole: 'model.hidden_dims=[...]'"}
        if hydra_internals._IS_1_3  # 1.4 sets an element of a list
        else {}
    ),
    "model=mlp seed=1": "is one word; type model=mlp seed=1",
    "seed=range(a,b)": "mismatch type argument start",
    "seed=chioce(1,2)": "Unknown function 'chioce'",
    "seed=interval(1)": "missing a required argument: 'end'",
    "data.root=\x1b[31m": r"data.root=\x1b[31m: cannot be read",
    "data.root=\udcff": r"data.root=\xff: cannot be read",
    "data.root=\u202ex": r"data.root=\u202ex: cannot be read",
}


def line_of(override: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_overrides([override])
    line = str(caught.value)
    assert line.isprintable()
    assert "Exception" not in line
    return line


@pytest.mark.parametrize("override", MEANT)
def test_says_what_to_type(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME)
    (typed,) = shlex.split(line_of(override).rpartition("; type ")[2])
    (read,) = parse_overrides([typed])
    assert read.value() == MEANT[override]


@pytest.mark.parametrize("override", OTHER)
def test_says_what_is_wrong(override: str) -> None:
    assert OTHER[override] in line_of(override)


@pytest.mark.parametrize("words", DASHED)
@pytest.mark.parametrize("verb", ["train", "evaluate x"])
def test_keys_have_no_dashes(verb: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), *shlex.split(words)]) == 2
    err = capsys.readouterr().err
    assert err.endswith(f": is written without dashes: {DASHED[words]}\n")


@pytest.mark.parametrize("verb", ["train", "train -m seed=1,2", "train --cfg job"])
def test_through_the_door(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*verb.split(), "data.root=a=b\r"]) == 2
    line = """data.root=a=b\\r: cannot be read; type 'data.root="a=b"'\n"""
    assert capsys.readouterr().err == f"mnist-lab train: {line}"
    assert not any(tmp_path.iterdir())
