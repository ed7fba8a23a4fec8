"""Proteins straight to embeddings, without a workflow: `virnucpro embed-proteins` and `virnucpro.embed_proteins`."""
