"""What kind of virus a contig is: functions of genes, known relatives, taxonomy by rank, topology, and why."""

RANKS = ("realm", "kingdom", "phylum", "class", "order", "family", "genus")

# Shortest lengths, in bases, of the classes of contigs that limits are taken from.
CLASSES = {"under 1.5 kb": 0, "1.5 to 5 kb": 1_500, "from 5 kb": 5_000}


def class_of(length: int) -> int:
    """Return the number of the class of a length."""
    return sum(length >= start for start in CLASSES.values()) - 1
