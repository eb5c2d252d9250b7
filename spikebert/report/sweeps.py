"""Runs that differ in one setting alone: their settings compared, and the sweeps they make.

A sweep is made of variants of `spikebert` that differ in one setting alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.registry import BASE
from ..config.schema import SECTIONS
from ..records.records import Record
from .published import Key

Groups = Mapping[Key, Sequence[Record]]
Settings = dict[str, Any]  # by dotted name
AUGMENT = "augment."
TEXT_SEEN = "stage1.max_sentences"  # caps what stage 1 sees
Points = dict[Any, tuple[str, str]]  # model and variant by the place on the axis


def flat(record: Record) -> Settings:
    """The settings of a record by dotted name; one that is younger than the record has its
    default."""
    return {
        f"{section}.{name}": value
        for section, values in record.settings.items()
        if isinstance(values, Mapping)
        for name, value in {**_defaults(section), **values}.items()
    }


def _defaults(section: str) -> dict[str, Any]:
    return dataclasses.asdict(SECTIONS[section]()) if section in SECTIONS else {}


def both_known(one: Settings, other: Settings) -> tuple[Settings, Settings]:
    """Two runs' settings, without those of augmentation where either does not know its own, as
    older records do not."""

    def rest(side: Settings) -> Settings:
        return {name: value for name, value in side.items() if not name.startswith(AUGMENT)}

    both = all(len(rest(side)) < len(side) for side in (one, other))
    return (one, other) if both else (rest(one), rest(other))


def as_many_rows(one: Record, other: Record) -> bool:
    """Whether two runs had as many training rows, which tells of their augmentation where their
    settings do not. Seeds draw a little more or less of it."""
    return abs(one.n_train - other.n_train) <= 0.02 * max(one.n_train, other.n_train)


def sweep(groups: Groups, dataset: str, setting: str) -> Points:
    """The values of a dotted setting for which SpikeBERT ran, all else the same: model and variant
    of each, by rising value, None last.

    Of several such lines the one with the most values is taken, and where two have as many, that of
    the base runs: a sweep may stand on a cheaper variant than the base.
    """
    lines: list[tuple[Settings, Record, Points]] = []
    for (name, model, variant), members in groups.items():  # base first
        own = flat(members[0])
        if (name, model) != (dataset, "spikebert") or setting not in own:
            continue
        value = own.pop(setting)
        for other, first, points in lines:
            if _alike(other, own) and as_many_rows(first, members[0]):
                points.setdefault(value, (model, variant))
                break
        else:
            lines.append((own, members[0], {value: (model, variant)}))
    longest = max((points for *_, points in lines), key=len, default={})  # the first of these
    return dict(sorted(longest.items(), key=lambda point: (point[0] is None, point[0])))


def _alike(one: Settings, other: Settings) -> bool:
    mine, theirs = both_known(one, other)
    return mine == theirs


def stands_on(points: Points) -> str | None:
    """The variant that names a line without the base runs: the shortest name in it."""
    variants = [variant for _, variant in points.values()]
    return None if BASE in variants or not variants else min(variants, key=len)


def text_points(groups: Groups, dataset: str) -> Points:
    """By how many sentences stage 1 saw: the sweep of its cap, and stage 2 alone, which saw none,
    where its settings are those of the line."""
    found: Points = {}
    records = [
        (label, groups[dataset, *label][0]) for label in sweep(groups, dataset, TEXT_SEEN).values()
    ]
    for label, record in reversed(records):  # of caps beyond the text, the first stays
        seen = record.upstream.get("stage1", {}).get("samples")
        if seen is not None:
            found[seen] = label
    if found:
        own = {k: v for k, v in flat(records[0][1]).items() if not k.startswith("stage1.")}
        for (name, model, variant), members in groups.items():
            alone = (name, model) == (dataset, "stage2_only") and _alike(flat(members[0]), own)
            if alone and as_many_rows(members[0], records[0][1]):
                found.setdefault(0, (model, variant))
    return dict(sorted(found.items()))
