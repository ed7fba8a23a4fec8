"""From contigs to proteins: genes, open frames and the table that describes them."""
