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
        settings=settings,
        language=lambda wildcards: run_of(wildcards).language,
        run=record_name,
    shell:
        "python -m spikebert tfidf --settings {params.settings:q} --corpus {input.corpus:q}"
        " --language {params.language} --run {params.run:q} --threads {threads}"
        " --record {output.record:q} --predictions {output.predictions:q} > {log:q} 2>&1"


rule textcnn:
    """Convolutions over words; it shares the teacher's tokenizer and first word embeddings."""
    input:
        corpus=corpus,
        teacher=base_teacher,
    output:
        model=directory("<work>/models/{id}"),
        record="<results>/records/{id}.json",
        predictions="<results>/predictions/{id}.csv",
    log:
        "<logs>/textcnn/{id}.log",
    benchmark:
        "<benchmarks>/textcnn/{id}.tsv"
    wildcard_constraints:
        id=one_of(plan.of("textcnn")),
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["textcnn"].mem_mb),
        runtime=plan.resources["textcnn"].runtime,
        gpu=plan.gpu,
    params:
        settings=settings,
        run=record_name,
        checkpoints=checkpoints("{id}"),
    shell:
        "python -m spikebert textcnn --settings {params.settings:q} --corpus {input.corpus:q}"
        " --teacher {input.teacher:q} --run {params.run:q} --checkpoints {params.checkpoints:q}"
        " --threads {threads} --out {output.model:q} --record {output.record:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule snn_textcnn:
    """The TextCNN of the same set and seed, made spiking and fine-tuned."""
    input:
        corpus=corpus,
        textcnn=source,
    output:
        model=directory("<work>/models/{id}"),
        record="<results>/records/{id}.json",
        predictions="<results>/predictions/{id}.csv",
    log:
        "<logs>/snn_textcnn/{id}.log",
    benchmark:
        "<benchmarks>/snn_textcnn/{id}.tsv"
    wildcard_constraints:
        id=one_of(plan.of("snn_textcnn")),
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["snn_textcnn"].mem_mb),
        runtime=plan.resources["snn_textcnn"].runtime,
        gpu=plan.gpu,
    params:
        settings=settings,
        run=record_name,
        checkpoints=checkpoints("{id}"),
    shell:
        "python -m spikebert snn-textcnn --settings {params.settings:q} --corpus {input.corpus:q}"
        " --textcnn {input.textcnn:q} --run {params.run:q} --checkpoints {params.checkpoints:q}"
        " --threads {threads} --out {output.model:q} --record {output.record:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule direct:
    """The student, or a dense BERT of its shape, trained on the labels alone.

    It shares the teacher's tokenizer.
    """
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
        id=one_of(plan.of("direct", "dense_direct")),
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["direct"].mem_mb),
        runtime=plan.resources["direct"].runtime,
        gpu=gpus("direct"),
    params:
        command=command("direct"),
        settings=settings,
        run=record_name,
        checkpoints=checkpoints("{id}"),
    shell:
        "{params.command} --settings {params.settings:q} --corpus {input.corpus:q}"
        " --tokenizer {input.tokenizer:q} --run {params.run:q} --checkpoints {params.checkpoints:q}"
        " --threads {threads} --out {output.model:q} --record {output.record:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"
