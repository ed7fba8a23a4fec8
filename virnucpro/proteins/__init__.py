"""From contigs to proteins: genes, open frames and the table that describes them."""

# Sources of genes of contigs without a sequence: headers of Prodigal, and translations in GenBank files.
WITHOUT_SEQUENCE = ("prodigal", "translations")
