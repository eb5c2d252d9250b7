localrules:
    split,
    corpus,
    unlabelled,
    leaks,
    corpora,


rule split:
    """Fetch a labelled set, clean it, and give each text its split."""
    input:
        lambda wildcards: local_files(plan.datasets[wildcards.dataset]),
    output:
        directory("<work>/splits/{dataset}"),
    log:
        "<logs>/split/{dataset}.log",
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.datasets[wildcards.dataset]),
        spec=lambda wildcards, output: canonical(plan.datasets[wildcards.dataset]),
        cache=CACHE,
    shell:
        "python -m spikebert split {wildcards.dataset} --spec {params.spec:q}"
        " --cache {params.cache:q} --out {output:q} > {log:q} 2>&1"


rule corpus:
    """Drop the rows that another set of the language tests on, and cap the splits."""
    input:
        splits="<work>/splits/{dataset}",
        others=other_splits,
    output:
        directory("<work>/corpora/{dataset}"),
    log:
        "<logs>/corpus/{dataset}.log",
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    params:
        caps=lambda wildcards: canonical(plan.datasets[wildcards.dataset].get("caps", {})),
        others=repeated("others"),
        dev=lambda wildcards: (
            "--keep-dev" if plan.datasets[wildcards.dataset].get("keep_dev") else ""
        ),
    shell:
        "python -m spikebert corpus {wildcards.dataset} --splits {input.splits:q}"
        " {params.others:q} --caps {params.caps:q} {params.dev} --out {output:q} > {log:q} 2>&1"


rule unlabelled:
    """Unlabelled sentences, without those that any set of the language selects or tests on."""
    input:
        corpora=lambda wildcards: corpora_of(wildcards.language),
        files=lambda wildcards: local_files(plan.unlabelled[wildcards.language]),
    output:
        text="<work>/unlabelled/{language}/text.jsonl",
        stats="<work>/unlabelled/{language}/stats.json",
    log:
        "<logs>/unlabelled/{language}.log",
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    params:
        content=lambda wildcards: content(plan.unlabelled[wildcards.language]),
        spec=lambda wildcards, output: canonical(plan.unlabelled[wildcards.language]),
        corpora=repeated("corpora"),
        cache=CACHE,
        out=subpath(output.text, parent=True),
    shell:
        "python -m spikebert unlabelled {wildcards.language} --spec {params.spec:q}"
        " --cache {params.cache:q} {params.corpora:q} --out {params.out:q} > {log:q} 2>&1"


rule augment:
    """Masked, swapped and shortened copies of the training rows, and sentences to be labelled."""
    input:
        corpus="<work>/corpora/{dataset}",
        text=transferred,
    output:
        "<work>/augmented/{dataset}/{digest}.s{seed}.jsonl",
    log:
        "<logs>/augment/{dataset}.{digest}.s{seed}.log",
    # Quick, and everything waits for it.
    priority: 30
    conda:
        "../../envs/spikebert.yaml"
    resources:
        mem_mb=more_at_retry(plan.resources["augment"].mem_mb),
        runtime=plan.resources["augment"].runtime,
    params:
        settings=lambda wildcards: augmented_by(wildcards).step("augment"),
        language=lambda wildcards: augmented_by(wildcards).language,
        text=repeated("text"),
    shell:
        "python -m spikebert augment --settings {params.settings:q} --language {params.language}"
        " --seed {wildcards.seed} --corpus {input.corpus:q} {params.text:q} --out {output:q}"
        " > {log:q} 2>&1"


rule leaks:
    """Prove that no test row stands in a file that anything is trained on."""
    input:
        corpora=[f"<work>/corpora/{name}" for name in plan.used_sets()],
        against=[f"<work>/unlabelled/{language}/text.jsonl" for language in plan.used_texts()]
        + [f"<work>/augmented/{key}.jsonl" for key in AUGMENTED],
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
        [f"<work>/corpora/{name}" for name in plan.datasets],
