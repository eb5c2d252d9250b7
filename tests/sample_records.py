"""Records with made-up numbers, for the tests of tables and figures."""

from typing import Any

from spikebert.records.records import Record


def make_record(
    dataset: str, model: str, seed: int, accuracy: float, variant: str = "base", **changes: Any
) -> Record:
    values: dict[str, Any] = {
        "id": f"{dataset}.{model}.{variant}.s{seed}",
        "dataset": dataset,
        "source": f"rows of {dataset}",
        "model": model,
        "variant": variant,
        "seed": seed,
        "accuracy_dev": accuracy,
        "accuracy_test": accuracy,
        "n_train": 800,
        "n_dev": 90,
        "n_test": 1060,
        "steps": 20,
        "tokens": 9000,
        "wall_s": 12.5,
        "samples_per_s": 30.0,
        "peak_rss_bytes": 10**9,
        "parameters": 10**6,
        "settings": {},
        "settings_digest": "0" * 12,
        "versions": {},
        "commit": "",
        "hardware": "",
        "history": [
            {"step": 10, "epoch": 0.5, "loss": 0.9},
            {"step": 10, "epoch": 0.5, "accuracy_dev": 0.6},
            {"step": 20, "epoch": 1.0, "loss": 0.4},
            {"step": 20, "epoch": 1.0, "accuracy_dev": accuracy},
        ],
    }
    return Record(**{**values, **changes})


NOTES = {
    "mr": {"source": "snippets & ratings", "analogue": True},
    "sst2": {"source": "the set itself", "analogue": False},
    "waimai": {"source": "no offline source", "analogue": False},
}

RECORDS = [
    make_record("sst2", "spikebert", 1, 0.79),
    make_record("mr", "spikebert", 3, 0.82),
    make_record("mr", "spikebert", 1, 0.80),
    make_record("mr", "spikebert", 2, 0.81),
    make_record("mr", "spikebert", 1, 0.75, "beta-0.8"),
    make_record("mr", "direct", 1, 0.76),
    make_record("mr", "tfidf", 1, 0.78, history=[{"C": 1.0, "accuracy_dev": 0.78}]),
]
