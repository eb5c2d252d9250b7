"""Where the files of a configuration lie: each path once, for workflow and command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .plan import Plan


class Below:
    """A path below a folder of the layout: a function of the name that stands in the braces."""

    def __init__(self, folder: str, path: str):
        self.folder, self.path = folder, path

    def __get__(self, layout: object, _: type) -> Callable[[str], str]:
        return lambda name: f"{getattr(layout, self.folder)}/{self.path.format(name)}"


@dataclass(frozen=True)
class Layout:
    """Paths by the names of what they hold; a wildcard of Snakemake will do as a name."""

    work: str  # what is not published
    results: str  # what is
    downloads: str  # shared by all configurations with this `work`
    teacher_cache: str
    bench: str
    # What interrupted jobs go on from; no output, or Snakemake would remove it.
    checkpoints_of_run: str

    splits = Below("work", "splits/{}")  # of a set, as are its
    corpus = Below("work", "corpora/{}")
    text = Below("work", "unlabelled/{}/text.jsonl")  # of a language, as are its
    text_stats = Below("work", "unlabelled/{}/stats.json")
    bert = Below("work", "teachers/{}")  # pre-trained
    compressed = Below("work", "compressed/{}")  # of a model
    augmented = Below("work", "augmented/{}.jsonl")  # of a key, as is
    stage1 = Below("work", "stage1/{}")
    configuration = Below("work", "configs/{}.json")  # that jobs read, of a digest
    model = Below("work", "models/{}")  # of a run, as are
    checkpoints = Below("checkpoints_of_run", "{}")
    record = Below("results", "records/{}.json")
    predictions = Below("results", "predictions/{}.csv")
    energy = Below("results", "energy/{}.json")
    probe = Below("results", "probes/{}.npz")
    calibration = Below("results", "probes/calibration.{}.json")
    cka = Below("results", "probes/cka.{}.npz")  # of a language
    table = Below("results", "tables/{}.csv")
    figure = Below("results", "figures/{}.svg")

    @classmethod
    def of(cls, plan: Plan, root: str = "") -> Layout:
        """The paths of a plan, all below `root` where it is given."""

        def below(path: str) -> str:
            return f"{root.rstrip('/')}/{path.lstrip('/')}" if root else path

        work, results = below(f"{plan.work}/{plan.run}"), below(f"results/{plan.run}")
        # A mounted volume, where it is not below `work`.
        checkpoints = f"{plan.checkpoints}/{plan.run}" if plan.checkpoints else work
        return cls(
            work=work,
            results=results,
            downloads=below(f"{plan.work}/downloads"),
            teacher_cache=f"{work}/taught",
            bench=f"{results}/bench.json",
            checkpoints_of_run=f"{checkpoints}/checkpoints",
        )
