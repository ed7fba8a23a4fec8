"""`virnucpro run`: from FASTA files to Snakemake, a live display of how far it is, and what came of it."""
