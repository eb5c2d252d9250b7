"""Where the files of a configuration lie: each path once, for workflow and command line.

`work` holds what is not published, `results` what is. Nothing heavy is imported here: the workflow
reads this module while it parses.
"""

from __future__ import annotations

from dataclasses import dataclass

from .plan import Plan


@dataclass(frozen=True)
class Layout:
    """Paths by the names of what they hold; a wildcard of Snakemake will do as a name."""

    work: str
    results: str
    downloads: str  # shared by all configurations with this `work`
    checkpoints_of_run: str

    @classmethod
    def of(cls, plan: Plan, root: str = "") -> Layout:
        """The paths of a plan, all below `root` where it is given."""

        def below(path: str) -> str:
            return f"{root.rstrip('/')}/{path.lstrip('/')}" if root else path

        return cls(
            work=below(f"{plan.work}/{plan.run}"),
            results=below(f"results/{plan.run}"),
            downloads=below(f"{plan.work}/downloads"),
            # A mounted volume, where it is not below `work`.
            checkpoints_of_run=f"{plan.checkpoints}/{plan.run}/checkpoints"
            if plan.checkpoints
            else below(f"{plan.work}/{plan.run}/checkpoints"),
        )

    def splits(self, dataset: str) -> str:
        return f"{self.work}/splits/{dataset}"

    def corpus(self, dataset: str) -> str:
        return f"{self.work}/corpora/{dataset}"

    def text(self, language: str) -> str:
        return f"{self.work}/unlabelled/{language}/text.jsonl"

    def text_stats(self, language: str) -> str:
        return f"{self.work}/unlabelled/{language}/stats.json"

    def augmented(self, key: str) -> str:
        return f"{self.work}/augmented/{key}.jsonl"

    def bert(self, language: str) -> str:
        """The pre-trained BERT of a language."""
        return f"{self.work}/teachers/{language}"

    def compressed(self, model: str) -> str:
        return f"{self.work}/compressed/{model}"

    def stage1(self, key: str) -> str:
        return f"{self.work}/stage1/{key}"

    def model(self, run: str) -> str:
        return f"{self.work}/models/{run}"

    def page(self, table: str) -> str:
        return f"{self.work}/pages/{table}.html"

    def configuration(self, digest: str) -> str:
        """The configuration that jobs of a workflow read."""
        return f"{self.work}/configs/{digest}.json"

    @property
    def teacher_cache(self) -> str:
        return f"{self.work}/taught"

    def checkpoints(self, name: str) -> str:
        """What an interrupted job goes on from; no output, or Snakemake would remove it."""
        return f"{self.checkpoints_of_run}/{name}"

    def record(self, run: str) -> str:
        return f"{self.results}/records/{run}.json"

    def predictions(self, run: str) -> str:
        return f"{self.results}/predictions/{run}.csv"

    def energy(self, run: str) -> str:
        return f"{self.results}/energy/{run}.json"

    def probe(self, run: str) -> str:
        return f"{self.results}/probes/{run}.npz"

    def cka(self, language: str) -> str:
        return f"{self.results}/probes/cka.{language}.npz"

    def calibration(self, run: str) -> str:
        return f"{self.results}/probes/calibration.{run}.json"

    @property
    def bench(self) -> str:
        return f"{self.results}/bench.json"

    def table(self, name: str, form: str = "csv") -> str:
        return f"{self.results}/tables/{name}.{form}"

    def figure(self, name: str, form: str = "svg") -> str:
        return f"{self.results}/figures/{name}.{form}"
