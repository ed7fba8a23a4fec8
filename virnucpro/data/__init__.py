"""Sequences as data: FASTA, chunks, translation, packing, manifests. Nothing here loads torch before it is needed."""

from virnucpro.data.budget import calculate_token_budget
from virnucpro.data.collation import PackedBatch, VarlenCollator
from virnucpro.data.packing import GreedyPacker

__all__ = ["GreedyPacker", "PackedBatch", "VarlenCollator", "calculate_token_budget"]
