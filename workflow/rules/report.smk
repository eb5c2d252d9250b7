localrules:
    accuracy_table,
    accuracy_and_curves,
    cost_table,
    sweep_figures,
    glue_table,
    compressed_table,
    table_pages,
    models,
    records,
    tables,
    figures,


rule accuracy_table:
    """Accuracy of every set and model: mean, deviation and interval over seeds."""
    input:
        records=[layout.record(id) for id in RUNS],
        predictions=[layout.predictions(id) for id in RUNS],
    output:
        csv=report(
            "<results>/tables/accuracy.csv",
            caption="../report/accuracy_table.rst",
            category=chapter("Accuracy"),
            labels={"result": "accuracy, values (CSV)"},
        ),
        md="<results>/tables/accuracy.md",
        tex="<results>/tables/accuracy.tex",
    log:
        "<logs>/accuracy_table.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert table accuracy {params.options:q} > {log:q} 2>&1"


rule accuracy_and_curves:
    """Accuracy beside the paper's, and how the training went."""
    input:
        records=[layout.record(id) for id in RUNS],
    output:
        accuracy=report(
            "<results>/figures/accuracy.svg",
            caption="../report/accuracy_figure.rst",
            category=chapter("Accuracy"),
            labels={"result": "accuracy beside the paper's"},
        ),
        curves=report(
            "<results>/figures/curves.svg",
            caption="../report/curves.rst",
            category=chapter("Training"),
            labels={"result": "loss and accuracy on dev"},
        ),
        png=multiext("<results>/figures/", "accuracy.png", "curves.png"),
    log:
        "<logs>/accuracy_and_curves.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert figure accuracy curves {params.options:q} > {log:q} 2>&1"


rule sweep_figures:
    """Figure 3 and more: accuracy against one setting, where variants swept it."""
    input:
        records=[layout.record(id) for id in RUNS],
    output:
        timesteps=report(
            "<results>/figures/sweep_timesteps.svg",
            caption="../report/sweeps.rst",
            category=chapter("Sweeps"),
            labels={"result": "time steps"},
        ),
        depth=report(
            "<results>/figures/sweep_depth.svg",
            caption="../report/sweeps.rst",
            category=chapter("Sweeps"),
            labels={"result": "depth"},
        ),
        beta=report(
            "<results>/figures/sweep_beta.svg",
            caption="../report/sweeps.rst",
            category=chapter("Sweeps"),
            labels={"result": "decay"},
        ),
        surrogate=report(
            "<results>/figures/sweep_surrogate.svg",
            caption="../report/more_sweeps.rst",
            category=chapter("Sweeps"),
            labels={"result": "surrogate derivative"},
        ),
        threshold=report(
            "<results>/figures/sweep_threshold.svg",
            caption="../report/more_sweeps.rst",
            category=chapter("Sweeps"),
            labels={"result": "firing threshold"},
        ),
        text=report(
            "<results>/figures/stage1_text.svg",
            caption="../report/stage1_text.rst",
            category=chapter("Sweeps"),
            labels={"result": "text of stage 1"},
        ),
        png=multiext(
            "<results>/figures/",
            "sweep_timesteps.png",
            "sweep_depth.png",
            "sweep_beta.png",
            "sweep_surrogate.png",
            "sweep_threshold.png",
            "stage1_text.png",
        ),
    log:
        "<logs>/sweep_figures.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert figure sweeps {params.options:q} > {log:q} 2>&1"


rule cost_table:
    """What training cost: tokens, time, memory, operations."""
    input:
        records=[layout.record(id) for id in RUNS],
        energies=[layout.energy(id) for id in MEASURED.values()],
    output:
        csv=report(
            "<results>/tables/training_cost.csv",
            caption="../report/training_cost_table.rst",
            category=chapter("Training"),
            labels={"result": "cost of training, values (CSV)"},
        ),
        md="<results>/tables/training_cost.md",
        tex="<results>/tables/training_cost.tex",
    log:
        "<logs>/cost_table.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        datasets=lambda wildcards: captions.notes(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert table training_cost {params.options:q} > {log:q} 2>&1"


rule glue_table:
    """GLUE beside the paper's row; a set without runs says why."""
    input:
        records=[layout.record(id) for id in on_glue(plan)],
    output:
        csv=report(
            "<results>/tables/glue.csv",
            caption="../report/glue_table.rst",
            category=chapter("GLUE"),
            labels={"result": "GLUE, values (CSV)"},
        ),
        md="<results>/tables/glue.md",
        tex="<results>/tables/glue.tex",
    log:
        "<logs>/glue_table.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        notes=lambda wildcards: captions.glue(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert table glue {params.options:q} > {log:q} 2>&1"


rule compressed_table:
    """The student beside compressed BERTs: accuracy, size and energy."""
    input:
        records=[layout.record(id) for id in compared(plan)],
        energy=[layout.energy(id) for id in MEASURED.values() if id in compared(plan)],
    output:
        csv=report(
            "<results>/tables/compressed.csv",
            caption="../report/compressed_table.rst",
            category=chapter("Energy"),
            labels={"result": "compressed models, values (CSV)"},
        ),
        md="<results>/tables/compressed.md",
        tex="<results>/tables/compressed.tex",
    log:
        "<logs>/compressed_table.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        notes=lambda wildcards: captions.compression(plan),
        about=lambda wildcards: captions.about(plan),
        options=options,
    shell:
        "python -m spikebert table compressed {params.options:q} > {log:q} 2>&1"


# Each table by its chapter and its words in the report; its caption is <name>_table.rst.
TABLES = {
    "claims": ("Claims", "claim sheet"),
    "accuracy": ("Accuracy", "accuracy"),
    "ablation": ("Ablation", "ablation"),
    "variants": ("Sweeps", "changed settings"),
    **({"energy": ("Energy", "energy")} if MEASURED else {}),
    "training_cost": ("Training", "cost of training"),
    "glue": ("GLUE", "GLUE"),
    "compressed": ("Energy", "compressed models"),
}


rule table_pages:
    """The tables as pages for the report."""
    input:
        [f"<results>/tables/{name}.md" for name in TABLES],
    output:
        [
            report(
                f"<work>/pages/{name}.html",
                caption=f"../report/{name}_table.rst",
                category=chapter(place),
                labels={"result": words},
            )
            for name, (place, words) in TABLES.items()
        ],
    log:
        "<logs>/table_pages.log",
    conda:
        "../../envs/spikebert.yaml"
    params:
        about=lambda wildcards: captions.about(plan),
        out=subpath(output[0], parent=True),
    shell:
        "python -m spikebert pages {input:q} --out {params.out:q} > {log:q} 2>&1"


rule models:
    input:
        [layout.model(id) for id, run in RUNS.items() if run.model != "tfidf"],


rule records:
    input:
        rules.accuracy_table.input.records,


rule tables:
    input:
        rules.accuracy_table.output,
        rules.claim_sheet.output,
        rules.energy_table.output if MEASURED else [],
        rules.cost_table.output,
        rules.glue_table.output,
        rules.compressed_table.output,
        rules.table_pages.output,


rule figures:
    input:
        rules.accuracy_and_curves.output,
        rules.sweep_figures.output,
        rules.probe_figures.output if "en" in PROBED else [],
        rules.calibration_figure.output if "en" in PROBED else [],
