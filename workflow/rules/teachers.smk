localrules:
    fetch_teacher,
    fetch_compressed,


rule fetch_teacher:
    """The pre-trained BERT of a language, as somebody else published it."""
    input:
        lambda wildcards: local_files(plan.teachers[wildcards.language]),
    output:
        directory("<work>/teachers/{language}"),
    log:
        "<logs>/fetch_teacher/{language}.log",
    wildcard_constraints:
        language=one_of(plan.teachers.keys() - set(PRETRAINED)),
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.teachers[wildcards.language]),
        spec=lambda wildcards, output: canonical(plan.teachers[wildcards.language]),
        cache=CACHE,
    shell:
        "python -m spikebert fetch-teacher --spec {params.spec:q} --cache {params.cache:q}"
        " --out {output:q} > {log:q} 2>&1"


rule fetch_compressed:
    """The checkpoint of a compressed BERT, which is fine-tuned as the teacher is."""
    input:
        lambda wildcards: local_files(plan.compressed[wildcards.compressed]),
    output:
        directory("<work>/compressed/{compressed}"),
    log:
        "<logs>/fetch_compressed/{compressed}.log",
    wildcard_constraints:
        compressed=one_of(plan.compressed),
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.compressed[wildcards.compressed]),
        spec=lambda wildcards, output: canonical(plan.compressed[wildcards.compressed]),
        cache=CACHE,
    shell:
        "python -m spikebert fetch-teacher --compressed --spec {params.spec:q}"
        " --cache {params.cache:q} --out {output:q} > {log:q} 2>&1"


rule pretrain:
    """A small BERT by masked language modelling, where no published one can be had."""
    input:
        text="<work>/unlabelled/{language}/text.jsonl",
    output:
        directory("<work>/teachers/{language}"),
    log:
        "<logs>/pretrain/{language}.log",
    benchmark:
        "<benchmarks>/pretrain/{language}.tsv"
    wildcard_constraints:
        language=one_of(PRETRAINED),
    # Stage 1 and the teachers of the language wait for it.
    priority: 20
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["pretrain"].mem_mb),
        runtime=plan.resources["pretrain"].runtime,
        gpu=plan.gpu,
    params:
        settings=lambda wildcards: step_settings("pretrain", plan.settings),
        checkpoints=checkpoints("pretrain.{language}"),
    shell:
        "python -m spikebert pretrain --settings {params.settings:q} --text {input.text:q}"
        " --checkpoints {params.checkpoints:q} --threads {threads} --out {output:q}"
        " > {log:q} 2>&1"


rule finetune:
    """The teacher of one set and seed."""
    input:
        corpus=corpus,
        teacher=base_teacher,
    output:
        model=directory("<work>/models/{id}"),
        record="<results>/records/{id}.json",
        predictions="<results>/predictions/{id}.csv",
    log:
        "<logs>/finetune/{id}.log",
    benchmark:
        "<benchmarks>/finetune/{id}.tsv"
    wildcard_constraints:
        id=one_of(plan.of("teacher", *COMPRESSED)),
    # Two students wait for it; nothing waits for the baselines.
    priority: 5
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["finetune"].mem_mb),
        runtime=plan.resources["finetune"].runtime,
        gpu=gpus("finetune"),
    params:
        command=command("finetune"),
        settings=settings,
        run=record_name,
        checkpoints=checkpoints("{id}"),
    shell:
        "{params.command} --settings {params.settings:q} --corpus {input.corpus:q}"
        " --teacher {input.teacher:q} --run {params.run:q} --checkpoints {params.checkpoints:q}"
        " --threads {threads} --out {output.model:q} --record {output.record:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"
