include: "workflow/Snakefile"


# An included file does not set the default target of the one that includes it.
workflow.default_target = "all"
