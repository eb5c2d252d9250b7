localrules:
    claim_sheet,


rule claim_sheet:
    """Which claims of the paper held, and what each part and each changed setting is worth."""
    input:
        records=[layout.record(id) for id in RUNS],
        predictions=[layout.predictions(id) for id in RUNS],
        energy=[rules.energy_table.output.csv] if MEASURED else [],
    output:
        claims=report(
            "<results>/tables/claims.csv",
            caption="../report/claims_table.rst",
            category=chapter("Claims"),
            labels={"result": "claim sheet, values (CSV)"},
        ),
        ablation=report(
            "<results>/tables/ablation.csv",
            caption="../report/ablation_table.rst",
            category=chapter("Ablation"),
            labels={"result": "ablation, values (CSV)"},
        ),
        variants=report(
            "<results>/tables/variants.csv",
            caption="../report/variants_table.rst",
            category=chapter("Sweeps"),
            labels={"result": "changed settings, values (CSV)"},
        ),
        more=multiext(
            "<results>/tables/",
            "claims.md",
            "claims.tex",
            "claims.rst",
            "ablation.md",
            "ablation.tex",
            "variants.md",
            "variants.tex",
        ),
    log:
        "<logs>/claim_sheet.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert table claims {params.options:q} > {log:q} 2>&1"
