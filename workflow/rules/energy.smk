localrules:
    energy_table,


# The base run of the lowest seed, for each set and each model of layers; stage 2 alone makes a
# student of the same shape as both stages, and what a dense one costs is its shape's alone. The
# paper gives no energy on GLUE.
NOT_MEASURED = ("tfidf", "stage2_only", "dense_distilled")
MEASURED = {}
for run in sorted(plan.runs, key=lambda run: run.seed):
    if run.dataset in GLUE_SETS:
        continue
    if run.variant == BASE and run.model not in NOT_MEASURED:
        MEASURED.setdefault((run.dataset, run.model), run.id)


rule measure_energy:
    """Operations and spikes of a model on the test sentences, and what they cost in energy."""
    input:
        model="<work>/models/{id}",
        corpus=corpus,
    output:
        "<results>/energy/{id}.json",
    log:
        "<logs>/energy/{id}.log",
    benchmark:
        "<benchmarks>/energy/{id}.tsv"
    wildcard_constraints:
        id=one_of(MEASURED.values()),
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["measure_energy"].mem_mb),
        runtime=more_at_retry(plan.resources["measure_energy"].runtime),
    params:
        limit=f"--limit {plan.energy_sentences}" if plan.energy_sentences else "",
        # As the test rows of its record were cut.
        max_length=lambda wildcards: run_of(wildcards).max_length,
    shell:
        "python -m spikebert energy {input.model:q} --corpus {input.corpus:q} {params.limit}"
        " --max-length {params.max_length} --threads {threads} --out {output:q} > {log:q} 2>&1"


rule energy_table:
    """Energy by convention and length, beside BERT's and the paper's."""
    input:
        records=[f"<results>/energy/{id}.json" for id in MEASURED.values()],
    output:
        csv=report(
            "<results>/tables/energy.csv",
            caption="../report/energy_table.rst",
            category=chapter("Energy"),
            labels={"result": "energy, values (CSV)"},
        ),
        md="<results>/tables/energy.md",
        tex="<results>/tables/energy.tex",
    log:
        "<logs>/energy_table.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        records=repeated("records"),
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        out=subpath(output.csv, parent=True),
    shell:
        "python -m spikebert energy-table {params.records:q} --datasets {params.datasets:q}"
        " --out {params.out:q} > {log:q} 2>&1"
