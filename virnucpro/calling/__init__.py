"""What proteins say of a contig: evidence, classifier, training and evaluation."""

# What a call leaves in a sample's folder, with its record.
CALL_FILES = ("contigs.tsv", "frames.tsv", "viral.fasta.gz", "contigs.provenance.json")
