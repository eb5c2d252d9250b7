localrules:
    calibration_figure,
    probe_figures,


# The paper's figure 4 shows these two, of SST-2.
SENTENCES = [
    "pays earnest homage to turntablists and beat jugglers, old schoolers and current innovators",
    "is a pan-american movie, with moments of genuine insight into the urban heart .",
]


rule probe:
    """Attention maps and spikes of the paper's sentences, and the spike rates of a test split."""
    input:
        model=layout.model("{id}"),
        corpus=lambda wildcards: layout.corpus(run_of(wildcards).dataset),
    output:
        update(layout.probe("{id}")),
    log:
        "<logs>/probe/{id}.log",
    wildcard_constraints:
        id=one_of(run.id for run in PROBED.values()),
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["probe"].mem_mb),
        runtime=plan.resources["probe"].runtime,
    params:
        plugins=plugins,
        sentences=SENTENCES,
    shell:
        "python -m spikebert probe {input.model:q} {params.sentences:q} {params.plugins:q}"
        " --corpus {input.corpus:q}"
        " --split test --limit 200 --blocks 4 --threads {threads} --out {output:q} > {log:q} 2>&1"


rule cka:
    """How similar student and teacher are, layer by layer, before and after stage 1."""
    input:
        student=lambda wildcards: layout.stage1(PROBED[wildcards.language].stage1),
        teacher=layout.bert("{language}"),
        text=layout.text("{language}"),
    output:
        update(layout.cka("{language}")),
    log:
        "<logs>/cka/{language}.log",
    wildcard_constraints:
        language=one_of(PROBED),
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["cka"].mem_mb),
        runtime=plan.resources["cka"].runtime,
    params:
        plugins=plugins,
    shell:
        "python -m spikebert cka {params.plugins:q} --student {input.student:q}"
        " --teacher {input.teacher:q}"
        " --text {input.text:q} --limit 200 --threads {threads} --out {output:q} > {log:q} 2>&1"


rule calibration:
    """How sure the student and its teacher are, and where they err, on the test split."""
    input:
        student=layout.model("{id}"),
        teacher=lambda wildcards: layout.model(run_of(wildcards).teacher),
        corpus=lambda wildcards: layout.corpus(run_of(wildcards).dataset),
    output:
        update(layout.calibration("{id}")),
    log:
        "<logs>/calibration/{id}.log",
    wildcard_constraints:
        id=one_of(run.id for run in PROBED.values()),
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["calibration"].mem_mb),
        runtime=plan.resources["calibration"].runtime,
    params:
        plugins=plugins,
        # As the test rows of its record were cut.
        max_length=lambda wildcards: run_of(wildcards).max_length,
    shell:
        "python -m spikebert calibration {params.plugins:q} --student {input.student:q}"
        " --teacher {input.teacher:q}"
        " --corpus {input.corpus:q} --max-length {params.max_length} --threads {threads}"
        " --out {output:q} > {log:q} 2>&1"


rule calibration_figure:
    """Reliability diagram and confusion matrices of the English student and its teacher."""
    input:
        lambda wildcards: layout.calibration(PROBED["en"].id),
    output:
        svg=report(
            "<results>/figures/calibration.svg",
            caption="../report/calibration.rst",
            category=chapter("Accuracy"),
            labels={"result": "calibration and confusion"},
        ),
        png="<results>/figures/calibration.png",
    log:
        "<logs>/calibration_figure.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert figure calibration {params.options:q} > {log:q} 2>&1"


rule probe_figures:
    """What the probes saw in the English student."""
    input:
        probe=lambda wildcards: layout.probe(PROBED["en"].id),
        cka=layout.cka("en"),
    output:
        attention_a=report(
            "<results>/figures/attention_a.svg",
            caption="../report/attention.rst",
            category=chapter("Inside the student"),
            labels={"result": "attention, sentence a"},
        ),
        attention_b=report(
            "<results>/figures/attention_b.svg",
            caption="../report/attention.rst",
            category=chapter("Inside the student"),
            labels={"result": "attention, sentence b"},
        ),
        rates=report(
            "<results>/figures/spike_rates.svg",
            caption="../report/spike_rates.rst",
            category=chapter("Inside the student"),
            labels={"result": "spike rates"},
        ),
        raster=report(
            "<results>/figures/raster.svg",
            caption="../report/raster.rst",
            category=chapter("Inside the student"),
            labels={"result": "spikes of one sentence"},
        ),
        cka=report(
            "<results>/figures/cka.svg",
            caption="../report/cka.rst",
            category=chapter("Inside the student"),
            labels={"result": "similarity to the teacher"},
        ),
        png=multiext(
            "<results>/figures/",
            "attention_a.png",
            "attention_b.png",
            "spike_rates.png",
            "raster.png",
            "cka.png",
        ),
    log:
        "<logs>/probe_figures.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        text=lambda wildcards: plan.unlabelled["en"]["description"],
        options=options,
    shell:
        "python -m spikebert figure probes {params.options:q} > {log:q} 2>&1"
