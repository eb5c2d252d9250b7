rule tfidf:
    """The floor: term frequencies and logistic regression."""
    input:
        corpus=corpus,
    output:
        record="<results>/records/{id}.json",
        predictions="<results>/predictions/{id}.csv",
    log:
        "<logs>/tfidf/{id}.log",
    wildcard_constraints:
        id=one_of(plan.of("tfidf")),
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["tfidf"].mem_mb),
        runtime=plan.resources["tfidf"].runtime,
    params:
        settings=settings("tfidf"),
        language=lambda wildcards: run_of(wildcards).language,
        run=record_name,
    shell:
        "python -m spikebert tfidf --settings {params.settings:q} --corpus {input.corpus:q}"
        " --language {params.language} --run {params.run:q} --threads {threads}"
        " --record {output.record:q} --predictions {output.predictions:q} > {log:q} 2>&1"


rule direct:
    """The student trained on the labels alone; it shares the teacher's tokenizer."""
    input:
        corpus=corpus,
        tokenizer=base_teacher,
    output:
        model=directory("<work>/models/{id}"),
        record="<results>/records/{id}.json",
        predictions="<results>/predictions/{id}.csv",
    log:
        "<logs>/direct/{id}.log",
    benchmark:
        "<benchmarks>/direct/{id}.tsv"
    wildcard_constraints:
        id=one_of(plan.of("direct")),
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["direct"].mem_mb),
        runtime=plan.resources["direct"].runtime,
        gpu=plan.gpu,
    params:
        settings=settings("direct"),
        run=record_name,
        checkpoints=checkpoints("{id}"),
    shell:
        "python -m spikebert direct --settings {params.settings:q} --corpus {input.corpus:q}"
        " --tokenizer {input.tokenizer:q} --run {params.run:q} --checkpoints {params.checkpoints:q}"
        " --threads {threads} --out {output.model:q} --record {output.record:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"
