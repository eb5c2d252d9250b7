localrules:
    energy_table,


rule measure_energy:
    """Operations and spikes of a model on the test sentences, and what they cost in energy."""
    input:
        model=layout.model("{id}"),
        corpus=lambda wildcards: layout.corpus(run_of(wildcards).dataset),
    output:
        update(layout.energy("{id}")),
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
        plugins=plugins,
        limit=f"--limit {plan.energy_sentences}" if plan.energy_sentences else "",
        # As the test rows of its record were cut.
        max_length=lambda wildcards: run_of(wildcards).max_length,
    shell:
        "python -m spikebert energy {input.model:q} {params.plugins:q} --corpus {input.corpus:q}"
        " {params.limit} --max-length {params.max_length} --threads {threads} --out {output:q} > {log:q} 2>&1"


rule energy_table:
    """Energy by convention and length, beside BERT's and the paper's."""
    input:
        records=[layout.energy(id) for id in MEASURED.values()],
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
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert table energy {params.options:q} > {log:q} 2>&1"
