"""Hydra's override grammar as search spaces."""

import random

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.sweeps.space import overrides_of, parse_space


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(0,0.5)", FloatDistribution(0, 0.5)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(16,64))", IntDistribution(16, 64)),
        ("tag(log,int(interval(1,100)))", IntDistribution(1, 100, log=True)),
        ("range(1,5)", IntDistribution(1, 4)),
        ("range(9,1,-2)", IntDistribution(3, 9, step=2)),
        ("tag(log,range(1,1025))", IntDistribution(1, 1024, log=True)),
        ("range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("range(3,4)", CategoricalDistribution(["3"])),
        ("choice([64],[128,64])", CategoricalDistribution(["[64]", "[128,64]"])),
        ("1e-3,1e-2", CategoricalDistribution(["0.001", "0.01"])),
        ("true,null,'a b'", CategoricalDistribution(["True", "null", "'a b'"])),
        ("interval(2,2)", FloatDistribution(2, 2)),
    ],
)
def test_distributions(text: str, distribution: BaseDistribution) -> None:
    space = parse_space({}, [f"key={text}"], is_grid=False)
    assert space.distributions() == {"key": distribution}


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("interval(0,0.5)", "0 0.5 1e-05 0.30000000000000004 5e-324", "x nan inf 1_0 1e999 ٣"),
        ("range(0,1,0.25)", "0.0 0.25", "${seed} -1e400"),
        ("int(interval(-9,64))", "-3 64 16.0", "1.5 [64] 0x10"),
        ("choice([64],[128,64])", "[64] [128,64]", "64 [64,128] [64],[128,64]"),
        ("true,null,'a'", "True null 'a'", "true a False"),
    ],
)
def test_values_that_it_has(text: str, good: str, bad: str) -> None:
    space = parse_space({}, [f"+key={text}"], is_grid=False)
    for value in good.split():
        space.check({"+key": value})
    for value in (*bad.split(), "", " 1", "1\n"):
        with pytest.raises(InputError, match=r"^\+key=.*: must be one of \+key="):
            space.check({"+key": value})
    for point in ({}, {"key": "1"}, {"+key": "1", "data.root": "x"}):
        with pytest.raises(InputError, match=r"^must have values of \+key alone$"):
            space.check(point)


def test_a_search_has_what_optuna_draws() -> None:
    space = parse_space(
        {},
        ["a=interval(0,1)", "b=tag(log,interval(1e-9,1))", "c=range(0,1,0.1)", "d=range(1,9,2)"],
        is_grid=False,
    )
    study = optuna.create_study()
    for _ in range(50):
        space.check(study.ask(space.distributions()).params)


def test_grid_has_the_order_of_hydra() -> None:
    space = parse_space({"a": "1,2"}, ["fixed=3", "b=range(2)", "+c=x"])
    assert space.is_grid
    assert space.fixed == ("fixed=3", "+c=x")
    texts = [" ".join(overrides_of(point)) for point in space.grid()]
    assert texts == ["a=1 b=0", "a=1 b=1", "a=2 b=0", "a=2 b=1"]


def test_no_dimension_is_one_point() -> None:
    assert parse_space({}, ["a=1"]).grid() == [{}]


def test_the_command_line_comes_before_a_file() -> None:
    params = {"a": "interval(0,1)", "b": "interval(0,1)", "nested": {"key": "1,2"}, "+d": "1,2"}
    space = parse_space(params, ["a=3", "b=choice(5,6)", "d=7"])
    assert [(dimension.key, dimension.text) for dimension in space.dimensions] == [
        ("b", "b=choice(5,6)"),
        ("nested.key", "nested.key=1,2"),
    ]
    assert space.fixed == ("a=3", "d=7")
    assert space.is_grid


def test_shuffling_is_the_same_at_each_start() -> None:
    def order(seed: int) -> list[dict[str, str]]:
        random.random()
        return parse_space({}, ["a=shuffle(range(20))"], seed=seed).grid()

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(int(point["a"]) for point in order(0)) == list(range(20))


def test_probes_have_every_choice_and_both_ends() -> None:
    texts = ["a=interval(0,1)", "b=x,y", "c=int(interval(1,2))"]
    space = parse_space({}, texts)
    assert len(list(space.probes(12))) == 3 * 2 * 2
    few = [tuple(point.values()) for point in space.probes(11)]
    assert few == [
        ("0.0", "x", "1"),
        ("0.382", "x", "1"),
        ("1.0", "x", "1"),
        ("0.0", "y", "1"),
        ("0.0", "x", "2"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=interval(1,0)", "must go from the smaller number to the larger one"),
        ("a=interval(0,inf)", "must be between two finite numbers"),
        ("a=interval(nan,1)", "must be between two finite numbers"),
        ("a=tag(log,interval(0,1))", "must start above 0"),
        ("a=tag(log,range(1,9,2))", "must have a step of 1"),
        ("a=tag(slow,interval(0,1))", "unknown tag slow; only log is supported"),
        ("a=range(5,1)", "must have at least one value"),
        ("a=range(1,5,0)", "must be one choice, range or interval"),
        ("a=range(1000000000)", "must be at most 100,000 values; interval(LOW,HIGH)"),
        ("a=interval(0,1),3", "must be one choice, range or interval"),
        ("a=1,2,1", "must have each value once; 1 occurs twice"),
        ("a=interval(0,", "brackets do not match"),
        ("monitor=val/acc,val/loss", "must have one value"),
        ("sweep=a,b", "must have one value"),
        ("allow_targets=[a.],[b.]", "must have one value"),
        ("hydra/launcher=a,b", "must have one value"),
    ],
)
def test_bad_spaces(text: str, message: str) -> None:
    for params, arguments in (({}, [text]), (dict([text.split("=", 1)]), [])):
        with pytest.raises(ConfigError) as caught:
            parse_space(params, arguments, is_grid=False)
        assert message in str(caught.value)
        assert str(caught.value).startswith(text)
        assert "\n" not in str(caught.value)


def test_a_grid_has_an_end() -> None:
    assert len(parse_space({}, ["a=range(100)", "b=range(100)"]).grid()) == 10_000
    space = parse_space({}, ["a=range(1000)", "b=range(1000)"])
    with pytest.raises(ConfigError, match=r"^a=range\(1000\): a grid of 1,000,000 trials"):
        space.grid()


def test_an_interval_has_no_grid() -> None:
    with pytest.raises(ConfigError, match=r"a=interval\(0,1\): an interval has no grid"):
        parse_space({}, ["a=interval(0,1)"], is_grid=True)
