"""What a changed setting did: what a variant is compared with, and in what it differs."""

from dataclasses import replace

import pytest
from test_claims import OWN, Runs

from spikebert.report.variants import COLUMNS, variants_table

MODEL = {"timesteps": 4, "beta": 0.9, "num_hidden_layers": 4}
SHORT = {"model": MODEL, "stage1": {"max_sentences": 2000}}


def runs():
    made = Runs().add("mr", "spikebert", [0.80, 0.82], settings={"model": MODEL, "stage1": {}})
    made.add("mr", "spikebert", [0.70, 0.72, 0.74], "short", SHORT)
    slow = SHORT | {"model": MODEL | {"beta": 0.5}}
    made.add("mr", "spikebert", [0.75, 0.77], "short-beta0.5", slow)
    return made.add("mr", "tfidf", [0.7])


def test_a_variant_stands_beside_the_line_it_is_named_after_or_the_base():
    table = variants_table(runs().evidence())
    assert table.columns.tolist() == list(COLUMNS)
    assert table["variant"].tolist() == ["short", "short-beta0.5"]
    short, beta = (row for _, row in table.iterrows())
    assert (short["against"], beta["against"]) == ("base", "short")
    assert beta["changed"] == "model.beta 0.5 for 0.9"
    assert short["changed"] == "stage1.max_sentences 2000 for None"
    assert beta["seeds"] == 2
    assert beta["mean"] == pytest.approx(76.0)
    assert beta["difference"] == pytest.approx(5.0)  # seeds 1 and 2, which both have
    assert beta["ci_low"] < 5 < beta["ci_high"]
    assert short["difference"] == pytest.approx(-10.0)


def test_a_variant_of_more_rows_says_how_many():
    made = runs()
    first = next(record for record in made.records if record.variant == "short")
    made.records[made.records.index(first)] = replace(first, n_train=10 * first.n_train)
    short, beta = (row for _, row in variants_table(made.evidence()).iterrows())
    few, more = first.n_train, 10 * first.n_train
    assert short["changed"] == f"rows {more} for {few}; stage1.max_sentences 2000 for None"
    assert beta["changed"] == f"model.beta 0.5 for 0.9; rows {few} for {more}"


def test_a_variant_says_how_its_rows_are_augmented_otherwise():
    made = Runs()
    for variant, augment in (
        ("base", {"p_mask": 0.1}),
        ("masked", {"p_mask": 0.2}),
        ("older", None),
    ):
        chosen = {"model": {"beta": 0.9}} | ({"augment": augment} if augment else {})
        made.add("mr", "spikebert", [0.8], variant, chosen)
    masked, older = (row for _, row in variants_table(made.evidence()).iterrows())
    assert (masked["changed"], older["changed"]) == ("augment.p_mask 0.2 for 0.1", "")


def test_what_cannot_be_compared_says_why():
    lonely = Runs().add("mr", "spikebert", [0.8], "warm", SHORT)
    notes = OWN | {"mr": {"source": "snippets", "analogue": True}}
    (row,) = (row for _, row in variants_table(lonely.evidence(notes)).iterrows())
    assert row["note"] == "on a stand-in, one seed, no runs of spikebert"
    assert (row["against"], row["changed"]) == ("base", "")
    blind = runs()
    blind.predictions.clear()
    assert set(variants_table(blind.evidence())["note"]) == {
        "no predictions of spikebert short",
        "no predictions of spikebert short-beta0.5",
    }
    assert variants_table(Runs().add("mr", "spikebert", [0.8]).evidence()).empty
