"""What proteins say of a contig: evidence, classifier, training and evaluation."""
