"""Terms, names and orders by which runs of a listing are chosen."""

import json
from pathlib import Path

import pytest
from made_runs import make_run

from mnist_lab.errors import ConfigError
from mnist_lab.report.listing import entries
from mnist_lab.report.read_runs import Entry
from mnist_lab.report.selection import chosen, first_of_each, full_name, ranked


def names(found: list[Entry]) -> list[str]:
    return [entry.path.name for entry in found]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("run!=none", ["r3", "r2", "r1", "r0"]),
        ("state=failed", ["r2"]),
        ("model=mlp", ["r1", "r0"]),
        ("lr>1e-3", ["r1"]),
        ("optimizer.lr >= 0.001 lr<0.01", ["r3", "r2", "r0"]),
        ("val/acc>97.5%", ["r1"]),
        ("val/acc<0.98", ["r0"]),
        ("tag=paper", ["r2"]),
        ("tag!=paper model=CNN", ["r3"]),
        ("note='why'", ["r2"]),
        ("note = 'why'", ["r2"]),
        ("note='why = not'", []),
        ("state!=finished", ["r3", "r2"]),
        ("state=fast_dev_run", []),
        ("age>1d", ["r3", "r2", "r1", "r0"]),
        ("age<5min", []),
        ("seed=0 monitored>0", ["r1", "r0"]),
        ("started<2026-11-02", ["r0"]),
        ("started>2026-11-02T12:00", ["r3", "r2"]),
        ("dataset=mnist error=null", ["r3", "r1", "r0"]),
        ("val/acc=null", ["r2"]),
        ("val/acc<=97%", ["r0"]),
        ("time<1min model=nothing", []),
        ("model!=mlp", ["r3", "r2"]),
        ("model=CNN", ["r3", "r2"]),
    ],
)
def test_where(where: str, expected: list[str], runs: list[Entry]) -> None:
    assert names(chosen(runs, where)) == expected


@pytest.mark.parametrize("where", ["lr", "=3", "learning_rate=3", "a='"])
def test_where_is_wrong_in_one_line(where: str, runs: list[Entry]) -> None:
    with pytest.raises(ConfigError):
        chosen(runs, where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "--where: must have a term, such as val/acc>0.98"),
        (" ", "--where: must have a term"),
        ("val/acc>", "--where val/acc>: must be a name, one of = != < <= > >=, and a value"),
        ("note=' '", "and a value"),
        ("val/acc<40", "--where val/acc<40: an accuracy is at most 1; say 40% or 0.4"),
        ("monitored>97.5", "say 97.5% or 0.975"),
        ("val/acc<140%", "an accuracy is at most 1"),
        ("val/acc<abc", "--where val/acc<abc: must be a number, such as 0.98 or 98%"),
        ("val/acc=nan", "must be a number"),
        ("lr=small", "--where lr=small: must be a number"),
        ("lr<null", "must be a number"),
        ("age<1x", "--where age<1x: must be a number or a time, such as 30min or 2d"),
        ("time>long", "must be a number or a time"),
        ("started<yesterday", "must be a time, such as 2026-11-02 or 2026-11-02T10:30"),
        ("model<5", "--where model<5: model is text: = or != is required"),
        ("activation>relu", "activation is text"),
        ("note>a", "is text"),
        ("tag<paper", "is text"),
        ("trials>2", "--where trials>2: must name what a run has; trials is of sweeps alone"),
        ("state=finish", "must be running, finished, interrupted, pruned, failed, fast_dev_run, "),
        ("state!=done model=cnn", "--where state!=done: must be running"),
        ("model=none val/acc<abc", "must be a number"),
    ],
)
def test_where_that_would_silently_match_all_or_nothing(
    where: str, message: str, runs: list[Entry]
) -> None:
    with pytest.raises(ConfigError) as error:
        chosen(runs, where)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("softmax", "mnist_lab.models.SoftmaxRegression"),
        ("SoftmaxRegression", "mnist_lab.models.SoftmaxRegression"),
        ("global_pool_cnn", "mnist_lab.models.GlobalPoolCNN"),
        ("module", "mnist_lab.models.Module"),
        ("net", "mnist_lab.models.Module"),
        ("residual", "mine.Residual"),
    ],
)
def test_a_model_is_its_choice_or_its_class(name: str, target: str, tmp_path: Path) -> None:
    make_run(tmp_path / "mlp", 0, 0.9)
    model = {"_target_": target}
    if target.endswith(".Module"):
        model["net"] = {"_target_": "mine.Net"}  # type: ignore[assignment]
    make_run(tmp_path / "other", 0, 0.9, model=model)
    runs = entries([tmp_path])
    assert names(chosen(runs, f"model={name}")) == ["other"]
    assert names(chosen(runs, f"model!={name}")) == ["mlp"]


def test_numbers_and_text_of_one_setting_are_told_apart(tmp_path: Path) -> None:
    for number, threads in enumerate((2, "auto", 8)):
        make_run(tmp_path / f"r{number}", 0, 0.9, trainer={"precision": threads})
    runs = entries([tmp_path])
    assert names(chosen(runs, "precision=auto")) == ["r1"]
    assert names(chosen(runs, "precision<9")) == ["r2", "r0"]


def test_a_name_that_is_nearly_right_is_suggested(runs: list[Entry]) -> None:
    with pytest.raises(ConfigError, match="did you mean val/acc"):
        full_name("val/ac", runs)


@pytest.mark.parametrize("typed", ["acc", "lrr"])
def test_the_end_of_a_name_suggests_it(typed: str, runs: list[Entry]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean (val/acc|optimizer\.lr)\?"):
        full_name(typed, runs)


def test_of_no_runs_any_name_will_do() -> None:
    assert full_name("val/acc", []) == "val/acc"


def test_the_best_comes_first_and_none_last(runs: list[Entry]) -> None:
    assert names(ranked(runs, "val/acc")) == ["r1", "r0", "r3", "r2"]
    assert names(ranked(runs, "val/acc", reverse=True)) == ["r0", "r1", "r3", "r2"]
    assert names(ranked(runs, "optimizer.lr"))[-1] == "r1"
    assert names(ranked(runs, "state")) == ["r3", "r2", "r1", "r0"]
    assert names(first_of_each(ranked(runs, "monitored"), "model")) == ["r1", "r3"]


def test_less_is_better_where_the_run_says_so(tmp_path: Path) -> None:
    for number, loss in enumerate((0.3, 0.1)):
        run = make_run(tmp_path / str(number), 0, 0.9)
        text = (run / "config.yaml").read_text().replace("val/acc", "val/loss") + "mode: min\n"
        (run / "config.yaml").write_text(text)
        metrics = json.loads((run / "metrics.json").read_text()) | {"val/loss": loss}
        (run / "metrics.json").write_text(json.dumps(metrics))
    assert names(ranked(entries([tmp_path]), "monitored")) == ["1", "0"]
