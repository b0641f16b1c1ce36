"""``mnist-lab report`` through the shipped door."""

import csv
import io
import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from statistics import mean

import browser
import pytest
import yaml
from door import call, run, without_torch
from made_runs import make_run
from scipy.stats import binomtest

from mnist_lab.inference.evaluate import predict_test_images

TINY = (
    "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=20 model=softmax "
    "trainer.enable_model_summary=false"
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of four real runs, two learning rates with two seeds each."""
    folder = tmp_path_factory.mktemp("report")
    done = call(f"train -m {TINY} optimizer.lr=1e-4,1e-2 seed=0,1 hydra.sweep.dir=sweep", folder)
    assert done.returncode == 0, done.stderr
    return folder / "sweep"


@pytest.mark.thorough
def test_a_table_that_says_what_it_is_sorted_by(sweep: Path) -> None:
    done = run("report sweep", sweep.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "sorted by val/acc" in done.stdout
    assert re.search(r"  1  2 .* 0\.01  +sweep/\d\n", done.stdout)
    assert re.search(r"  2  2 .* 0\.0001  +sweep/\d\n", done.stdout)
    assert "test/acc" not in done.stdout
    assert "test/acc 95 %" in call("report sweep --test", sweep.parent).stdout


def test_what_was_varied_comes_before_what_models_differ_in(tmp_path: Path) -> None:
    cnn = {"_target_": "mnist_lab.models.CNN", "channels": [8], "kernel_size": 3, "pool": 2}
    for lr in (0.1, 0.2):
        make_run(tmp_path / f"mlp{lr}", 0, 0.9 - lr, optimizer={"lr": lr})
        make_run(tmp_path / f"cnn{lr}", 0, 0.7 + lr, model=cnn, optimizer={"lr": lr})
    lines = call("report .", tmp_path).stdout.splitlines()
    assert re.search(r" model +lr +channels ", lines[1])
    assert re.search(r"^ +1 .* CNN +0\.2 ", lines[3])
    by = json.loads(call("report . --by test/loss --json", tmp_path).stdout)
    assert by["sorted_by"] == "test/loss"
    wrong = call("report . --by val/f2", tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_a_table_has_the_column_that_it_is_sorted_by(tmp_path: Path) -> None:
    monitored = {"monitor": "val/loss", "mode": "min"}  # of a model without accuracy
    for seed, loss in ((0, 0.5), (1, 0.25)):
        path = make_run(tmp_path / str(seed), seed, 0.9, trainer={"max_epochs": seed + 1})
        config = yaml.safe_load((path / "config.yaml").read_text()) | monitored
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        metrics = json.loads((path / "metrics.json").read_text()) | {"val/loss": loss}
        del metrics["val/acc"], metrics["test/acc"]
        (path / "metrics.json").write_text(json.dumps(metrics))
    lines = call("report .", tmp_path).stdout.splitlines()
    assert lines[0].startswith("sorted by val/loss;")
    assert "val/loss" in lines[1]
    assert "0.25" in lines[3]
    assert "0.5" in lines[4]


def test_json_and_csv_have_the_means_of_the_metrics_files(sweep: Path) -> None:
    done = call("report sweep --json", sweep.parent)
    content = json.loads(done.stdout)
    assert [row["lr"] for row in content["rows"]] == [0.01, 0.0001]
    for row in content["rows"]:
        files = [sweep.parent / one / "metrics.json" for one in row["directories"]]
        values = [json.loads(path.read_text()) for path in files]
        assert len(files) == row["n"] == 2
        for name in ("val/acc", "test/acc", "test/loss", "time/fit"):
            assert row[name] == pytest.approx(mean(one[name] for one in values), abs=1e-12)
    done = call("report sweep --csv", sweep.parent)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [float(row["test/acc"]) for row in rows] == [row["test/acc"] for row in content["rows"]]


def test_compares_two_rows_on_the_same_images(sweep: Path) -> None:
    done = call("report sweep --compare 1 2 --json", sweep.parent)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["comparison"]
    assert found["seeds"] == ["0", "1"]
    a, b = (predict_test_images(sweep.parent / one) for one in found["directories"])
    for one, place in zip((a, b), found["directories"], strict=True):
        metrics = json.loads((sweep.parent / place / "metrics.json").read_text())
        assert one.accuracy == pytest.approx(metrics["test/acc"], abs=1e-9)
    only_a = int((a.is_correct & ~b.is_correct).sum())
    only_b = int((b.is_correct & ~a.is_correct).sum())
    test = found["mcnemar"]
    assert (test["images"], test["only_a"], test["only_b"]) == (10_000, only_a, only_b)
    assert test["p_value"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert test["low"] < test["difference"] < test["high"]
    assert test["difference"] == pytest.approx(a.accuracy - b.accuracy)


def test_compares_two_runs_by_their_directories(sweep: Path) -> None:
    done = call("report sweep --compare sweep/2 sweep/2", sweep.parent)
    assert done.returncode == 0, done.stderr
    assert "right in A alone 0, in B alone 0" in done.stdout
    assert "p = 1; no difference" in done.stdout


@pytest.fixture(scope="module")
def page(sweep: Path) -> Path:
    """The page about these runs."""
    done = call("report sweep --html page.html", sweep.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return sweep.parent / "page.html"


def test_the_page_has_all_parts_and_asks_for_nothing(page: Path) -> None:
    text = page.read_text()
    for title in (
        *("Leaderboard", "Learning curves", "Accuracy and time", "Accuracy and parameters"),
        "Confusion and mistakes",
    ):
        assert f"<h2>{title}</h2>" in text
    assert text.count('class="plotly-graph-div"') == 5
    assert len(re.findall(r'<figure><img alt="a \d" src="data:image/png;base64,', text)) == 24
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', text)
    assert "default-src 'none'" in text


def test_the_page_of_a_sweep_has_no_test_accuracy_to_choose_by(page: Path, sweep: Path) -> None:
    assert "test/acc" not in page.read_text()
    assert "test/loss" not in page.read_text()
    done = call("report sweep --test --html shown.html", sweep.parent)
    assert done.returncode == 0, done.stderr
    assert ">test/acc</button>" in (sweep.parent / "shown.html").read_text()


HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def test_the_page_takes_names_and_values_for_text(tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE.replace("/", "")
    make_run(folder / "a", 0, 0.9, model={"activation": HOSTILE})
    make_run(folder / "b", 0, 0.8, model={HOSTILE: 3})
    done = call("report . --html page.html", tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.html").read_text()
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert "&lt;img src=x" in text
    assert done.stderr.count("no mistakes of row") == 2  # they have no checkpoints


def test_the_page_replaces_another_file_only_where_asked(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", 0, 0.9)
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    done = call("report runs --html notes.html", tmp_path)
    line = "mnist-lab report: notes.html: is there already; --overwrite replaces it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert notes.read_text() == "mine"
    for words in ("--overwrite", ""):  # then it is a report
        done = call(f"report runs --html notes.html {words}", tmp_path)
        assert (done.returncode, "Leaderboard" in notes.read_text()) == (0, True), done.stderr


def test_the_page_replaces_no_pipe(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", 0, 0.9)
    os.mkfifo(tmp_path / "pipe")
    done = call("report runs --html pipe --overwrite", tmp_path)
    line = "mnist-lab report: pipe: must be a regular file, or a path where none is\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("report", 2, "required: DIR"),
        ("report none", 3, "none: no such directory"),
        ("report empty", 3, "empty: no finished run in or below it"),
        ("report one --csv --json", 2, "not allowed with"),
        ("report one --compare 1 7", 2, "--compare 7: no such row; there are 1 to 1"),
        ("report one --compare 1 circle", 2, "--compare circle: must be a row's number or"),
        ("report one --compare 1", 2, "expected 2 arguments"),
        ("report one --html empty", 2, "empty: must be a regular file"),
        ("report one --html none/page.html", 5, "no such directory: none"),
        ("report one optimizer.lr=1", 3, "optimizer.lr=1: no such directory"),
        ("report one allow_targets=3", 2, "must be a list"),
    ],
)
def test_what_is_wrong_is_one_line(words: str, code: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    make_run(tmp_path / "one/a", 0, 0.9)
    done = run(words, tmp_path, **without_torch(tmp_path))
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_reads_well_and_does_not_complain(page: Path, tmp_path: Path, width: int) -> None:
    with browser.opened(tmp_path, width) as seen:
        seen.goto(page.as_uri())
        seen.wait_for_selector(".plotly")
        first = seen.locator("#leaderboard tbody tr td").first
        assert first.text_content() == "1"
        for _ in range(2):  # the rows are in this order already
            seen.locator("#leaderboard th button").first.click()
        assert first.text_content() == "2"
        assert seen.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.messages == []
        assert [url for url in seen.asked if not url.startswith((page.as_uri(), "data:"))] == []


def test_code_in_a_run_is_refused_and_the_rest_shown(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep / "0", tmp_path / "runs/0")
    shutil.copytree(sweep / "2", tmp_path / "runs/2")
    path = tmp_path / "runs/2/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["_target_"] = "os.system"
    path.write_text(yaml.safe_dump(config))
    done = call("report runs --html page.html", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "os.system: not a target that mnist_lab ships" in done.stderr
    done = call("report runs --compare 1 2", tmp_path)
    assert done.returncode == 4


@pytest.mark.slow  # a time, which needs a machine with nothing else to do
def test_a_thousand_runs_take_seconds_and_no_torch(tmp_path: Path) -> None:
    draw = random.Random(0)
    direct: dict[float, list[float]] = {}
    for number in range(1_000):
        lr = 10 ** -(1 + number // 5 / 100)
        acc = 0.97 + draw.gauss(0, 0.005)
        direct.setdefault(lr, []).append(acc)
        place = tmp_path / f"sweep{number % 3}/{number}"
        make_run(place, number % 5, acc, test_acc=acc - 0.01, optimizer={"lr": lr})
    start = time.perf_counter()
    done = run("report . --json", tmp_path, **without_torch(tmp_path))
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["lr"]: row["n"] for row in rows} == dict.fromkeys(direct, 5)
    for row in rows:
        assert row["val/acc"] == pytest.approx(mean(direct[row["lr"]]), abs=1e-12)
    assert seconds < 10
