"""The engine: proteins to pieces, bins and embeddings, for the stages and for `virnucpro embed-proteins`."""
