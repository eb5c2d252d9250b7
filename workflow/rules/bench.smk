rule bench:
    """What training and inference cost beside the field's usual build; asked for by name."""
    input:
        corpus=lambda wildcards: f"<work>/corpora/{first_english_set()}",
        tokenizer="<work>/teachers/en",
    output:
        "<results>/bench.json",
    log:
        "<logs>/bench.log",
    conda:
        "../../envs/spikebert.yaml"
    # Alone on the machine, or its times mean nothing.
    threads: workflow.cores
    resources:
        mem_mb=8000,
        runtime=30,
    shell:
        "python -m spikebert bench --corpus {input.corpus:q} --tokenizer {input.tokenizer:q}"
        " --threads {threads} --out {output:q} 2>&1 | tee {log:q}"
