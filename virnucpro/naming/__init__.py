"""Describe viral contigs: functions of genes, known relatives, taxonomy by rank, topology, and reasons of a call."""

RANKS = ("realm", "kingdom", "phylum", "class", "order", "family", "genus")

# Shortest lengths, in bases, of the classes of contigs that have their own limits.
CLASSES = {"under 1.5 kb": 0, "1.5 to 5 kb": 1_500, "from 5 kb": 5_000}


def class_of(length: int) -> int:
    """Return the number of a contig's class of lengths."""
    return sum(length >= start for start in CLASSES.values()) - 1
