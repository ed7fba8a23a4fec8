"""From contigs to proteins: chunks, open frames and the table that describes them."""
