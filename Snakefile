# The workflow, with its default target: after a plain `include:` Snakemake would have none.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
