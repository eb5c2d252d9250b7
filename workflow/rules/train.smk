localrules:
    fetch_teacher,
    fetch_compressed,


rule fetch_teacher:
    """The pre-trained BERT of a language, as somebody else published it."""
    input:
        lambda wildcards: local_files(plan.teachers[wildcards.language]),
    output:
        directory(layout.bert("{language}")),
    log:
        "<logs>/fetch_teacher/{language}.log",
    wildcard_constraints:
        language=one_of(plan.teachers.keys() - {*keys("pretrain")}),
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.teachers[wildcards.language]),
        options=options,
    shell:
        "python -m spikebert fetch-teacher {wildcards.language} {params.options:q} > {log:q} 2>&1"


rule fetch_compressed:
    """The checkpoint of a compressed BERT, which is fine-tuned as the teacher is."""
    input:
        lambda wildcards: local_files(plan.compressed[wildcards.compressed]),
    output:
        directory(layout.compressed("{compressed}")),
    log:
        "<logs>/fetch_compressed/{compressed}.log",
    wildcard_constraints:
        compressed=one_of(plan.compressed),
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.compressed[wildcards.compressed]),
        options=options,
    shell:
        "python -m spikebert fetch-teacher {wildcards.compressed} {params.options:q}"
        " > {log:q} 2>&1"


# What others wait for comes first: nothing waits for the baselines.
PRIORITY = {"pretrain": 20, "stage1": 10, "finetune": 5}

# By rule: a name in JOBS with the wildcard of the rule, what it makes, and the names that the
# wildcard may take. TF-IDF has no weights to keep. What is published stays (`update`) until its
# successor is whole, here and wherever a long job writes to the results.
TRAINED = {
    "pretrain": ("pretrain/{id}", {"out": directory(layout.bert("{id}"))}, keys("pretrain")),
    "stage1": ("stage1/{id}", {"out": directory(layout.stage1("{id}"))}, keys("stage1")),
}
for name in dict.fromkeys(spec.rule for spec in MODELS.values()):
    weights = {"model": directory(layout.model("{id}"))} if name != "tfidf" else {}
    TRAINED[name] = (
        "{id}",
        {
            **weights,
            "record": update(layout.record("{id}")),
            "predictions": update(layout.predictions("{id}")),
        },
        [id for id in RUNS if JOBS[id].rule == name],
    )

for name, (job, made, ids) in TRAINED.items():

    rule:
        name:
            name
        input:
            unpack(lambda wildcards, job=job: JOBS[job.format(id=wildcards.id)].inputs),
        output:
            **made,
        log:
            f"<logs>/{name}/{{id}}.log",
        benchmark:
            f"<benchmarks>/{name}/{{id}}.tsv"
        wildcard_constraints:
            id=one_of(ids),
        priority: PRIORITY.get(name, 0)
        retries: RETRIES
        conda:
            "../../envs/spikebert.yaml"
        threads: plan.threads
        resources:
            **({"gpu": gpus(name)} if name != "tfidf" else {}),
            mem_mb=more_at_retry(plan.resources[name].mem_mb),
            runtime=plan.resources[name].runtime,
        params:
            command=command(name),
            settings=lambda wildcards, job=job: JOBS[job.format(id=wildcards.id)].decisive,
            job=lambda wildcards, output, job=job: job.format(id=wildcards.id),
            options=options,
        shell:
            "{params.command} {params.job} --force {params.options:q} --threads {threads}"
            " > {log:q} 2>&1"
