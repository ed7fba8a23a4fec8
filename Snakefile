# The workflow, and its default target: a plain `include:` would leave that behind.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
