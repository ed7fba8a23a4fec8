"""Find viruses in metagenomic contigs with protein language models."""

__version__ = "0.1.0"
