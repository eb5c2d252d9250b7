"""Any configuration makes a plan or a `UserError`, and no name in it leaves its folder."""

import copy
import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from spikebert.config.plan import Plan, content, make_plan
from spikebert.config.schema import dotted, settings_by_name
from spikebert.errors import UserError
from spikebert.report import captions

ROOT = Path(__file__).parents[2]
TINY = yaml.safe_load((ROOT / "tests/inputs/tiny.yaml").read_text("utf-8"))
SMALL = yaml.safe_load((ROOT / "config/small.yaml").read_text("utf-8"))
PATH = tuple[Any, ...]

# What YAML, JSON or the command line can give, and what nobody expects there.
STRANGE: list[Any] = [10**400, -(10**400), 2**63, 2**32, 1e308, 3.0, -0.0]
STRANGE += ["1e999", "9" * 5000, "1e-4", "NaN", "3.0", "true", "null", "[1]", "{}", "[" * 5000]
STRANGE += ["\ud800", "a\0b", "\n", "../x", "x" * 9999, "base", "films", "en"]
STRANGE += [datetime.date(2024, 2, 29), b"bytes", {1, 2}]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 600),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(STRANGE),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=4), st.integers(), st.none()), inner, max_size=3
        ),
    ),
    max_leaves=4,
)


def paths(value: Any, path: PATH = ()) -> Iterator[PATH]:
    """Every place in a configuration."""
    if path:
        yield path
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, part in value.items() if isinstance(value, dict) else inner:
        yield from paths(part, (*path, key))


def changed(config: dict[str, Any], path: PATH, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(config)
    place: Any = made
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    place[path[-1]] = value
    return made


SAFE = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}")


def plan_or_error(config: dict[str, Any]) -> Plan | None:
    """The plan, sound in what the workflow takes from it; None where a `UserError` was raised."""
    try:
        made = make_plan(config)
    except UserError as error:
        message = str(error)
        assert len(message) <= 2000
        assert len(message.splitlines()) <= 23
        message.encode()
        return None
    assert SAFE.fullmatch(made.run)
    for run in made.runs:
        assert SAFE.fullmatch(run.id)
        assert len(run.id) < 240
        for text in (run.name, run.stage1 if "stage1" in run.settings else "", run.source):
            assert "\0" not in text
            text.encode()
        for section in run.settings.values():
            json.dumps(section, allow_nan=False)
    for spec in made.datasets.values():
        content(spec).encode()
    assert isinstance(made.threads, int)
    json.dumps(captions.notes(made), ensure_ascii=False).encode()
    captions.about(made)
    return made


PLACES = [(config, path) for config in (TINY, SMALL) for path in paths(config)]
OPTIONAL = [("work",), ("mirror",), ("threads",), ("gpu",), ("teacher_cache_gib",), ("nosuch",)]
OPTIONAL += [("datasets", "films", key) for key in ("split", "caps", "analogue", "licence")]
OPTIONAL += [("datasets", "films", "split", "dev"), ("datasets", "films", "caps", "train")]
OPTIONAL += [("datasets", "films", "files", 0, key) for key in ("sha256", "only", "max_sentences")]
OPTIONAL += [("runs", 0, "variant"), ("runs", 0, "overrides")]
PLACES += [(TINY, path) for path in OPTIONAL]
SETTINGS = list(settings_by_name().values())


@examples(200)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere(place: tuple[dict[str, Any], PATH], value: Any) -> None:
    config, path = place
    plan_or_error(changed(config, path, value))


@examples(150)
@given(st.sampled_from(SETTINGS), VALUES, st.booleans())
def test_any_value_in_any_setting(setting: tuple[str, str], value: Any, override: bool) -> None:
    section, key = setting
    if override:
        row = {"datasets": ["films"], "models": ["spikebert"], "seeds": [1]}
        row |= {"variant": "other", "overrides": {dotted(section, key): value}}
        base = {"datasets": ["films"], "models": ["spikebert"], "seeds": [1]}
        plan_or_error({**TINY, "runs": [base, row]})
    else:
        path = ("steps", section, key) if section in TINY["steps"] else (section, key)
        plan_or_error(changed(TINY, path, value))


@given(VALUES)
@example([])
@example({})
def test_any_value_as_a_configuration(value: Any) -> None:
    if isinstance(value, dict):
        plan_or_error(value)
    plan_or_error({"run": value, "datasets": value, "runs": value})


def slipped(name: str, slip: str) -> str:
    if slip == "left out":
        return name[:1] + name[2:]
    if slip == "twice":
        return name[:2] + name[1:]
    return name[:1] + name[2] + name[1] + name[3:]


MISSPELT = [
    (path[:-1], path[-1], slip)
    for path in paths(TINY)
    if isinstance(path[-1], str)
    and path[0] not in ("unavailable",)
    and path[-1] not in ("en", "zh", "films", "meals")
    and "overrides" not in path[:-1]
    for slip in ("left out", "twice", "swapped")
    if slipped(path[-1], slip) != path[-1]
]


@pytest.mark.parametrize(("path", "name", "slip"), MISSPELT)
def test_a_slip_of_the_pen_is_named(path: PATH, name: str, slip: str) -> None:
    config = copy.deepcopy(TINY)
    place: Any = config
    for key in path:
        place = place[key]
    wrong = slipped(name, slip)
    place[wrong] = place.pop(name)
    with pytest.raises(UserError, match=f"{wrong}[\\s\\S]*did you mean ([^?]*[ .])?{name}"):
        make_plan(config)


def test_no_depth_is_too_deep() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (cyclic, deep):
        for path in (("work",), ("model", "beta"), ("runs", 0, "seeds"), ("datasets", "films")):
            made = {**TINY, path[0]: value} if len(path) == 1 else copy.deepcopy(TINY)
            place: Any = made
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            assert plan_or_error(made) is None


def test_a_misspelt_override_is_named() -> None:
    rows = [{"datasets": ["films"], "models": ["direct"], "seeds": [1]}]
    rows.append(rows[0] | {"variant": "x", "overrides": {"steps.direct.epoch": 1}})
    with pytest.raises(UserError, match=r"did you mean steps.direct.epochs\?"):
        make_plan({**TINY, "runs": rows})


HOSTILE = [
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "/abs",
    "../up",
    "-dash",
    "a b",
    "name\n",
    "\nname",
    "a\0b",
]
HOSTILE += [
    "a" * 65,
    "a" * 10_000,
    "ﬁlms",
    "fіlms",
    "films\u200b",
    "con",
    "nul",
    "com1",
    "Films",
    "~",
]
HOSTILE += ["$HOME", "{work}", "<work>", "a:b", "a;rm", "'", "*", "\ud800", "a.b"]


def named(name: str) -> dict[str, dict[str, Any]]:
    """A configuration for each place where a name becomes one of a file."""
    films, row = TINY["datasets"]["films"], {"models": ["tfidf"], "seeds": [1]}
    variant = {"datasets": ["films"], "models": ["direct"], "seeds": [1], "variant": name}
    return {
        "run": {**TINY, "run": name},
        "set": {**TINY, "datasets": {name: films}, "runs": [{"datasets": [name], **row}]},
        "unavailable set": {**TINY, "unavailable": {name: "lost"}},
        "language of a set": changed(TINY, ("datasets", "films", "language"), name),
        "language of a teacher": changed(TINY, ("teachers", name), {"source": "pretrain"}),
        "language of text": changed(TINY, ("unlabelled", name), TINY["unlabelled"]["en"]),
        "model": changed(TINY, ("runs", 0, "models"), [name]),
        "variant": {**TINY, "runs": [*TINY["runs"], variant | {"overrides": {"model.beta": 0.8}}]},
    }


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_no_name_leaves_its_folder(name: str) -> None:
    for place, config in named(name).items():
        if place == "variant" and name in ("a.b", "con", "nul", "com1"):
            assert plan_or_error(config)  # in the middle of a name these are harmless
        else:
            assert plan_or_error(config) is None, place


def test_names_that_are_good() -> None:
    for place, config in named("base-2_x").items():
        if place in ("run", "set", "unavailable set"):
            assert plan_or_error(config), place


@pytest.mark.parametrize(
    "work", ["-w", "a\0", "{x}", "<results>", "results", "./results/small", "a\n"]
)
def test_the_folder_of_work_is_no_trap(work: str) -> None:
    with pytest.raises(UserError, match=r"work|configuration"):
        make_plan({**TINY, "work": work})


def test_a_whole_number_has_one_spelling() -> None:
    with pytest.raises(UserError, match=r"runs.0.seeds.0[\s\S]*1.0"):
        make_plan({**TINY, "runs": [{"datasets": ["films"], "models": ["tfidf"], "seeds": [1.0]}]})
    made = make_plan(changed(TINY, ("steps", "direct", "batch_size"), 8.0))
    assert json.dumps(made.settings["direct"]["batch_size"]) == "8"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("datasets", "films", "split"), {"dev": 0.5, "test": 0.5}, "a sum below 1"),
        (("steps", "stage2", "ignored_layers"), 1, "fewer than model.num_hidden_layers = 1"),
        (("steps", "pretrain", "num_attention_heads"), 3, "a divisor of hidden_size = 16"),
        (("steps", "stage1", "seed"), 2**32, "a whole number from 0 to 4294967295"),
        (("steps", "stage1", "seed"), -1, "a whole number from 0 to 4294967295"),
        (("model", "mlp_ratio"), 0.01, "room for a hidden layer"),
        (("runs", 0, "seeds"), [2**32], "a whole number from 0 to 4294967295"),
    ],
)
def test_what_would_fail_in_a_job_fails_before(path: PATH, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_plan(changed(TINY, path, value))
