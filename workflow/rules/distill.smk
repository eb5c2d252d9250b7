rule stage1:
    """The student's pre-training distillation, shared by all runs with the same settings."""
    input:
        text="<work>/unlabelled/{language}/text.jsonl",
        teacher="<work>/teachers/{language}",
    output:
        directory("<work>/stage1/{language}.{digest}"),
    log:
        "<logs>/stage1/{language}.{digest}.log",
    benchmark:
        "<benchmarks>/stage1/{language}.{digest}.tsv"
    # It is long, and all students of the language wait for it.
    priority: 10
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["stage1"].mem_mb),
        runtime=plan.resources["stage1"].runtime,
        gpu=gpus("stage1"),
    params:
        command=command("stage1"),
        settings=lambda wildcards: STAGE1[f"{wildcards.language}.{wildcards.digest}"].first_step,
        checkpoints=checkpoints("stage1.{language}.{digest}"),
    shell:
        "{params.command} --settings {params.settings:q} --text {input.text:q}"
        " --teacher {input.teacher:q} --checkpoints {params.checkpoints:q}"
        " --threads {threads} --out {output:q} > {log:q} 2>&1"


rule stage2:
    """Task distillation, from stage 1's student or, for stage2_only, from scratch."""
    input:
        corpus=corpus,
        augmented=augmented,
        teacher=source,
        stage1=stage1_student,
    output:
        model=directory("<work>/models/{id}"),
        record="<results>/records/{id}.json",
        predictions="<results>/predictions/{id}.csv",
    log:
        "<logs>/stage2/{id}.log",
    benchmark:
        "<benchmarks>/stage2/{id}.tsv"
    wildcard_constraints:
        id=one_of(plan.of(*DISTILLED)),
    retries: RETRIES
    conda:
        "../../envs/spikebert.yaml"
    threads: plan.threads
    resources:
        mem_mb=more_at_retry(plan.resources["stage2"].mem_mb),
        runtime=plan.resources["stage2"].runtime,
        gpu=gpus("stage2"),
    params:
        command=command("stage2"),
        settings=settings,
        stage1=repeated("stage1"),
        run=record_name,
        checkpoints=checkpoints("{id}"),
    shell:
        "{params.command} --settings {params.settings:q} --corpus {input.corpus:q}"
        " --augmented {input.augmented:q} --teacher {input.teacher:q} {params.stage1:q}"
        " --run {params.run:q} --checkpoints {params.checkpoints:q} --threads {threads}"
        " --out {output.model:q} --record {output.record:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"
