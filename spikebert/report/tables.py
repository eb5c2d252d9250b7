"""Tables from records, as CSV, Markdown and LaTeX. Nothing here imports torch.

Accuracies are percent: four decimals in CSV, two elsewhere. A cell without a value stays empty.
Where a set is judged by another metric, a column says by which, and its values are in percent, too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from ..config.schema import BASE, MODELS
from ..errors import UserError
from ..records.metrics import summarise
from ..records.paper import paper_value
from ..records.records import Record, read_records
from ..utils.files import write_text

COLUMNS = (
    "dataset",
    "source",
    "model",
    "variant",
    "seeds",
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "paper",
    "paper_status",
    "n_test",
)
PERCENT = ("mean", "sd", "ci_low", "ci_high", "paper")
COUNTS = ("seeds", "n_test")
ANALOGUE_NOTE = "a stand-in, not the set of the paper: its accuracy is not comparable"
RECALLED_NOTE = "recalled, not seen in a public source"
INTERVAL_NOTE = (
    "mean, sd: over seeds, in percent; ci: 95 % interval of the mean (Student's t), empty with "
    "one seed; paper: mean of the paper's 10 seeds."
)

Key = tuple[str, str, str]  # dataset, model, variant


def group(records: Iterable[Record], datasets: Iterable[str] = ()) -> dict[Key, list[Record]]:
    """Records by dataset, model and variant, seeds in order.

    Datasets come in the order given (others after them), models in that of the plan, base before
    other variants.

    Raises:
        UserError: records of one group were tested on different numbers of rows.
    """
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.seed):
        groups[record.dataset, record.model, record.variant].append(record)
    for key, members in groups.items():
        sizes = sorted({record.n_test for record in members})
        if len(sizes) > 1:
            raise UserError(
                f"records of {'.'.join(key)}",
                expected="one test split for all seeds",
                got=f"{' and '.join(map(str, sizes))} test rows",
                fix="run the workflow again for this set",
            )
    order = {name: place for place, name in enumerate(datasets)}
    models = list(MODELS)

    def place(key: Key) -> tuple[Any, ...]:
        dataset, model, variant = key
        rank = models.index(model) if model in models else len(models)
        return (order.get(dataset, len(order)), dataset, rank, model, variant != BASE, variant)

    return {key: groups[key] for key in sorted(groups, key=place)}


def accuracy_table(
    records: Iterable[Record], notes: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row for each dataset, model and variant, with the columns `COLUMNS` and, where a set is
    not judged by accuracy, `metric`.

    `notes` gives, for each dataset in the order of the table, `source` (words) and `analogue`.
    A dataset of `notes` without records gets a row for each base model, its mean empty.
    """
    groups = group(records, notes)
    models = dict.fromkeys(model for _, model, variant in groups if variant == BASE)
    with_records = {dataset for dataset, _, _ in groups}
    keys: list[Key] = []
    for dataset in dict.fromkeys([*notes, *with_records]):
        keys += [key for key in groups if key[0] == dataset] or [
            (dataset, model, BASE) for model in models
        ]
    rows = [_row(key, groups.get(key, []), notes.get(key[0], {})) for key in keys]
    judged = {record.metric for members in groups.values() for record in members}
    columns = [*COLUMNS, *(["metric"] if judged - {"accuracy"} else [])]
    frame = pd.DataFrame(rows, columns=columns)
    if "metric" in columns:
        frame["metric"] = frame["metric"].fillna("")
    return frame.astype(dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(PERCENT, float))


def _row(key: Key, members: Sequence[Record], note: Mapping[str, Any]) -> dict[str, Any]:
    dataset, model, variant = key
    paper = paper_value(model, variant, dataset)
    row: dict[str, Any] = {
        "dataset": dataset,
        "source": note.get("source") or members[0].source,
        "model": model,
        "variant": variant,
        "seeds": len(members),
        "paper": paper.accuracy if paper else None,
        "paper_status": paper.status if paper else "",
    }
    if members:
        summary = summarise([100 * record.score for record in members])
        row |= {name: getattr(summary, name) for name in ("mean", "sd", "ci_low", "ci_high")}
        row |= {"n_test": members[0].n_test, "metric": members[0].metric}
    return row


def _printed(table: pd.DataFrame, analogues: set[str], marks: tuple[str, str]) -> pd.DataFrame:
    """Cells as text, two decimals, stand-ins and recalled values marked."""
    analogue, recalled = marks
    text = table.astype(object).copy()
    for name in PERCENT:
        text[name] = ["" if pd.isna(v) else f"{v:.2f}" for v in table[name]]
    for name in COUNTS:
        text[name] = ["" if pd.isna(v) else str(v) for v in table[name]]
    text["dataset"] = [f"{d}{analogue if d in analogues else ''}" for d in table["dataset"]]
    text["paper"] = [
        f"{value}{recalled if status == 'recalled' else ''}"
        for value, status in zip(text["paper"], table["paper_status"], strict=True)
    ]
    return text


def _notes(table: pd.DataFrame, analogues: set[str], marks: tuple[str, str]) -> list[str]:
    lines = [INTERVAL_NOTE]
    if analogues & set(table["dataset"]):
        lines.append(f"{marks[0]} {ANALOGUE_NOTE}.")
    if "recalled" in set(table["paper_status"]):
        lines.append(f"{marks[1]} {RECALLED_NOTE}.")
    return lines


def markdown(text: pd.DataFrame, numbers: Iterable[str], notes: Sequence[str]) -> str:
    """A Markdown table of cells that are text, columns of numbers to the right, notes below."""
    right = set(numbers)
    body = tabulate(
        text.values.tolist(),
        headers=list(text.columns),
        tablefmt="pipe",  # the one that says where numbers stand
        disable_numparse=True,
        colalign=["right" if name in right else "left" for name in text.columns],
    )
    return "\n\n".join([body, *notes]) + "\n"


def latex(text: pd.DataFrame, kinds: Mapping[str, str], notes: Sequence[str]) -> str:
    """A `tabular` for the package booktabs, its notes in small print below; `kinds` are the columns
    that are not "l"."""
    body = text.to_latex(
        index=False,
        escape=True,
        column_format="".join(kinds.get(name, "l") for name in text.columns),
    )
    below = "\\\\\n".join(re.sub(r"([%_&#$])", r"\\\1", note) for note in notes)
    return f"{body}\n\\footnotesize\n{below}\n".replace("†", r"\dag{}")


def to_markdown(table: pd.DataFrame, analogues: set[str]) -> str:
    marks = (r"\*", "†")
    text = _printed(table, analogues, marks)
    return markdown(text, (*PERCENT, *COUNTS), _notes(table, analogues, marks))


def to_latex(table: pd.DataFrame, analogues: set[str]) -> str:
    marks = ("*", "†")
    text = _printed(table, analogues, marks)
    kinds = dict.fromkeys((*PERCENT, *COUNTS), "r")
    return latex(text, kinds, _notes(table, analogues, marks))


def write_tables(
    records: Iterable[str | Path], out: str | Path, notes: Mapping[str, Mapping[str, Any]]
) -> None:
    """Read records and write accuracy.csv, accuracy.md and accuracy.tex into the folder `out`."""
    table = accuracy_table(read_records(records), notes)
    analogues = {name for name, note in notes.items() if note.get("analogue")}
    out = Path(out)
    csv = table.round(dict.fromkeys(PERCENT, 4)).to_csv(index=False, lineterminator="\n")
    write_text(out / "accuracy.csv", csv)
    write_text(out / "accuracy.md", to_markdown(table, analogues))
    write_text(out / "accuracy.tex", to_latex(table, analogues))
