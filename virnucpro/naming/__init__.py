"""What kind of virus a contig is: functions of genes, known relatives, taxonomy by rank, topology, and why."""

RANKS = ("realm", "kingdom", "phylum", "class", "order", "family", "genus")
