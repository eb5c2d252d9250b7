rule bench:
    """What training and inference cost beside the field's usual build; asked for by name."""
    input:
        corpus=lambda wildcards: layout.corpus(plan.language_sets("en")[0]),
        tokenizer=layout.bert("en"),
    output:
        json=update("<results>/bench.json"),
        svg=update("<results>/figures/bench.svg"),
        png=update("<results>/figures/bench.png"),
    log:
        "<logs>/bench.log",
    conda:
        "../../envs/spikebert.yaml"
    # Alone on the machine, or its times mean nothing; a cluster has no number of cores.
    threads: workflow.resource_settings.cores or plan.threads
    resources:
        mem_mb=16000,
        runtime=30,
    params:
        figures=subpath(output.svg, parent=True),
    shell:
        "python -m spikebert bench --corpus {input.corpus:q} --tokenizer {input.tokenizer:q}"
        " --threads {threads} --out {output.json:q} --figures {params.figures:q} 2>&1 | tee {log:q}"
