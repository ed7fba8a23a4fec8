"""import-classifier: a classifier of the original VirNucPro as safetensors."""

import logging
from pathlib import Path

from virnucpro.calling.classifier import save_classifier
from virnucpro.calling.published import read_pth
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)


def import_classifier(pth: Path, output: Path, chunk_size: int | None = None) -> None:
    """Convert a classifier of the original VirNucPro, and say whether it is one of the two that were published.

    The chunks, in bases, that it was trained on are known of the published ones.

    Raises:
        UserError: the file is none, or is a published one of other chunks, or an unknown one without `chunk_size`.
    """
    classifier = read_pth(pth, chunk_size or 0)
    embedding = classifier.requirements.embedding
    if chunk_size and embedding.chunk_size != chunk_size:
        raise UserError(f"{pth}: the published classifier for chunks of {embedding.chunk_size} bp, not {chunk_size}")
    if not embedding.chunk_size:
        raise UserError(f"{pth}: none of the published classifiers; say with --chunk-size which chunks it is for")
    save_classifier(classifier, output)
    logger.info("import: %s, %s: %s", pth, classifier.requirements.origin, output)
