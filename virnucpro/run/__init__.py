"""A run: what it has to do, how Snakemake is started on it, how far it is and what came of it."""
