"""import-classifier: convert a classifier of the original VirNucPro to safetensors."""

import logging
from pathlib import Path

from virnucpro.calling.classifier import save_classifier
from virnucpro.calling.published import read_pth
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)


def import_classifier(pth: Path, output: Path, chunk_size: int | None = None) -> None:
    """Convert a classifier of the original VirNucPro, and log whether it is one of the two published ones.

    Args:
        chunk_size: Chunk size in bases; needed only for a classifier that is not published.

    Raises:
        UserError: The file is not a classifier, or `chunk_size` is wrong or missing.
    """
    classifier = read_pth(pth, chunk_size or 0)
    embedding = classifier.requirements.embedding
    if chunk_size and embedding.chunk_size != chunk_size:
        raise UserError(f"{pth}: the published classifier for chunks of {embedding.chunk_size} bp, not {chunk_size}")
    if not embedding.chunk_size:
        raise UserError(f"{pth}: not a published classifier; give its chunk size with --chunk-size")
    save_classifier(classifier, output)
    logger.info("import: %s, %s: %s", pth, classifier.requirements.origin, output)
