# The workflow lies in workflow/, where catalogs of workflows look for it.
include: "workflow/Snakefile"
