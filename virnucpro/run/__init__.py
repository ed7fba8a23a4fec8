"""`virnucpro run`: from arguments to Snakemake, progress on the screen, and results."""
