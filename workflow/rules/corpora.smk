localrules:
    split,
    corpus,
    leaks,
    corpora,


rule split:
    """Fetch a labelled set, clean it, and give each text its split."""
    input:
        lambda wildcards: local_files(plan.datasets[wildcards.dataset]),
    output:
        directory(layout.splits("{dataset}")),
    log:
        "<logs>/split/{dataset}.log",
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.datasets[wildcards.dataset]),
        options=options,
    shell:
        "python -m spikebert split {wildcards.dataset} {params.options:q} > {log:q} 2>&1"


rule corpus:
    """Drop the rows that another set of the language tests on, and cap the splits."""
    input:
        splits=layout.splits("{dataset}"),
        others=other_splits,
    output:
        directory(layout.corpus("{dataset}")),
    log:
        "<logs>/corpus/{dataset}.log",
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    params:
        caps=lambda wildcards: plan.datasets[wildcards.dataset].get("caps", {}),
        keep_dev=lambda wildcards: plan.datasets[wildcards.dataset].get("keep_dev", False),
        options=options,
    shell:
        "python -m spikebert corpus {wildcards.dataset} {params.options:q} > {log:q} 2>&1"


rule unlabelled:
    """Unlabelled sentences, without those that any set of the language selects or tests on."""
    input:
        corpora=lambda wildcards: corpora_of(wildcards.language),
        files=lambda wildcards: local_files(plan.unlabelled[wildcards.language]),
    output:
        text=layout.text("{language}"),
        stats=layout.text_stats("{language}"),
    log:
        "<logs>/unlabelled/{language}.log",
    # Everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    resources:
        mem_mb=more_at_retry(plan.resources["unlabelled"].mem_mb),
        runtime=plan.resources["unlabelled"].runtime,
    params:
        content=lambda wildcards: content(plan.unlabelled[wildcards.language]),
        options=options,
    shell:
        "python -m spikebert unlabelled {wildcards.language} {params.options:q} > {log:q} 2>&1"


rule augment:
    """Masked, swapped and shortened copies of the training rows, and sentences to be labelled."""
    input:
        unpack(lambda wildcards: JOBS[f"augment/{wildcards.key}"].inputs),
    output:
        layout.augmented("{key}"),
    log:
        "<logs>/augment/{key}.log",
    wildcard_constraints:
        key=one_of(keys("augment")),
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    resources:
        mem_mb=more_at_retry(plan.resources["augment"].mem_mb),
        runtime=plan.resources["augment"].runtime,
    params:
        settings=lambda wildcards: JOBS[f"augment/{wildcards.key}"].decisive,
        options=options,
    shell:
        "python -m spikebert run augment/{wildcards.key} --force {params.options:q} > {log:q} 2>&1"


rule leaks:
    """Prove that no test row stands in a file that anything is trained on."""
    input:
        corpora=[layout.corpus(name) for name in plan.used_sets()],
        against=[layout.text(language) for language in plan.used_texts()]
        + [layout.augmented(key) for key in keys("augment")],
    output:
        report(
            "<results>/leaks.json",
            caption="../report/leaks.rst",
            category=chapter("Corpora"),
            labels={"result": "search for test rows in training files"},
        ),
    log:
        "<logs>/leaks.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        corpora=repeated("corpora"),
        against=repeated("against"),
    shell:
        "python -m spikebert leaks {params.corpora:q} {params.against:q} --out {output:q}"
        " > {log:q} 2>&1"


rule corpora:
    input:
        [layout.corpus(name) for name in plan.datasets],
