"""fetch-model: weights into the cache, and a file that says which they are."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from virnucpro.data.cards import ModelCard, record_of
from virnucpro.data.description import layer_numbers
from virnucpro.data.files import write_text
from virnucpro.data.provenance import begin_writing, file_state, write_provenance
from virnucpro.encoders.checkpoint import read_checkpoint
from virnucpro.encoders.weights import find_weights

logger = logging.getLogger(__name__)


def fetch_model(model: str, layers: Sequence[int], output: Path | None = None) -> None:
    """Fetch a model where it is not at hand, read it, and write its name, digest and sizes as JSON.

    Args:
        model: a name, or the path of a checkpoint or of a folder with one.
        layers: numbers of the layers that will be wanted of it.
        output: the JSON file, or None to only fetch.

    Raises:
        UserError: it cannot be found, fetched or read, or has no such layers.
    """
    weights = find_weights(model)
    config, _ = read_checkpoint(weights.path)
    layer_numbers(layers, config.layers)  # now, not when everything is packed and a GPU was waited for
    card = ModelCard(
        name=weights.name,
        sha256=weights.sha256,
        layers=config.layers,
        embed_dim=config.embed_dim,
        heads=config.heads,
    )
    logger.info("model: %s, %d layers of %d, SHA-256 %s", card["name"], config.layers, config.embed_dim, card["sha256"])
    if output:
        begin_writing(record_of(output), [output])
        write_text(output, json.dumps(card, indent=1) + "\n")
        inputs = {"weights": file_state(weights.path, weights.sha256)}
        write_provenance(record_of(output), "fetch-model", {"model": weights.name}, inputs, [output], card)
