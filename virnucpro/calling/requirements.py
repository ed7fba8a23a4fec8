"""Requirements of a classifier, read without loading it: a mismatch is refused before any job starts."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, TypeAdapter

from virnucpro.data.description import ALL_TOKENS, EmbeddingDescription, describe_proteins
from virnucpro.data.files import file_digest
from virnucpro.encoders.names import digest_with_tokenizer, local_checkpoint
from virnucpro.errors import UserError

DEFAULT = Path(__file__).with_name("classifier.safetensors")

FORMAT = "virnucpro classifier 5"
MOST_BYTES = 1_000_000  # longest header that is read

# Chunk sizes in bases of the original VirNucPro's classifiers, by the git object ids of their files.
PUBLISHED = {
    "a0b5b85e7c1e44f00cde146d091beb82b2c8e855": 300,
    "fc35d5ef9f1f4564eea7036f34f4f8ec6000d33d": 500,
}
# Digests of the models that they were trained with.
ESM2_3B = "7de8b4082ba15891959ab368b77ce3886697af1efb16d3c9e9e7b0c5d3f07500"
DNABERT_S = "67c4f318ad6c69a3a4e9b6479bf7fa9cf2d2f812f550e4ef3d1f38b069e293f5"
VIRAL_FROM = 0.619  # log-odds of a weighted difference of 0.3, by the rule of `virnucpro.calling.published`

CellularTo = Annotated[tuple[tuple[NonNegativeInt, float], ...], Field(min_length=1)]


@dataclass(frozen=True)
class Requirements:
    """The embeddings that a classifier was trained on, and the contigs that it may call.

    Attributes:
        embedding: Description of the embeddings of proteins.
        cellular_to: Pairs of length in bases and log-odds, by length. A contig of at least this length is called
            cellular up to these log-odds. Contigs below the first length are not called.
        fewest_residues: Contigs with fewer residues in their proteins are not called.
        most_genes: Number of proteins of long contigs in the training. More proteins add no certainty.
        nucleotides: Description of the embeddings of frames' nucleotides; None for a classifier of proteins alone.
        is_published: Whether it is a classifier of the original VirNucPro.
    """

    embedding: EmbeddingDescription
    cellular_to: CellularTo
    fewest_residues: int
    most_genes: int
    nucleotides: EmbeddingDescription | None = None
    is_published: bool = False

    @property
    def origin(self) -> str:
        """Origin of a classifier of the original VirNucPro, in words."""
        known = f"the published one for chunks of {self.embedding.chunk_size} bp"
        return known if self.embedding.encoder_sha256 else "not a published one"

    @property
    def tested_from(self) -> int:
        """Length of the shortest contigs that it was tested on, in bases."""
        return self.cellular_to[0][0]

    def check_config(self, config: Mapping[str, Any], digest: Callable[[Path], str] = file_digest) -> None:
        """Raise a UserError if a run makes other embeddings than the classifier needs.

        A model given by its path is compared by its digest. The number of the last layer is known only when the model
        is loaded, so stage call compares it.

        Args:
            config: Configuration, checked and with its layers resolved.
            digest: Returns the SHA-256 of a file in hex.
        """
        if self.is_published and config["prior"] not in ("auto", 0.5):
            raise UserError(
                f"config: prior is {config['prior']}, but scores of the original VirNucPro's classifiers are not "
                "probabilities; remove prior"
            )
        made = replace(
            self.embedding,
            **{name: config[name] for name in ("max_sequence_length", "long_proteins")},
            **describe_proteins({**config, "type": "contigs"}),
        )
        is_known = self.embedding.encoder_sha256 != ""  # whether the classifier names its models
        if not Path(config["model"]).exists() and config["model"] != self.embedding.encoder:
            made = replace(made, encoder=config["model"], encoder_sha256="")
        elif is_known and (checkpoint := local_checkpoint(config["model"])):
            made = replace(made, encoder=config["model"], encoder_sha256=digest(checkpoint))
        if len(config["layers"]) > 1 or len(self.embedding.layers) > 1:
            made = replace(made, layers=tuple(config["layers"]))
        made.check_trained_for(self.embedding, "config")
        model = config.get("nucleotide_model")
        if model and not self.nucleotides:
            raise UserError(
                "config: nucleotide_model is given, but the classifier was trained on proteins alone; remove "
                "nucleotide_model, or give a classifier that takes both"
            )
        if self.nucleotides and not model:
            raise UserError(
                f"config: the classifier takes embeddings of nucleotides by {self.nucleotides.encoder} as well; set "
                "nucleotide_model"
            )
        if self.nucleotides and model:
            made = replace(self.nucleotides, encoder=model)
            if is_known and (checkpoint := local_checkpoint(model)):
                made = replace(made, encoder_sha256=digest_with_tokenizer(digest(checkpoint), checkpoint))
            elif model != self.nucleotides.encoder and not Path(model).exists():
                made = replace(made, encoder_sha256="none")
            made.check_trained_for(self.nucleotides, "config")


def screen_beside(classifier: Path) -> Path:
    """Return the path of a classifier's screen (`virnucpro.calling.screen`); the file may be missing."""
    return classifier.with_name(f"{classifier.stem}_screen.safetensors")


def describe_published(path: Path, chunk_size: int = 0) -> Requirements:
    """Return the requirements of a .pth classifier of the original VirNucPro: ESM-2 3B and DNABERT-S over frames.

    The two published files are recognized by their digests. For another file the weights of its models are unknown, and
    its chunk size is `chunk_size`, in bases; 0 means unknown.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "give one of VirNucPro's, such as 500_model.pth"
        raise UserError(f"classifier {path}: {error.strerror}; {hint}") from None
    known = PUBLISHED.get(hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(), 0)
    embedding = EmbeddingDescription(
        encoder="esm2_t36_3B_UR50D",
        encoder_sha256=ESM2_3B if known else "",
        embed_dim=2560,
        layers=(36,) if known else (-1,),
        pooling="mean",
        precision="float32",
        proteins="frame",
        chunk_size=known or chunk_size,
        short_chunks=(),
        max_sequence_length=1022,
        long_proteins="windows",
    )
    nucleotides = replace(
        embedding,
        encoder="DNABERT-S",
        encoder_sha256=DNABERT_S if known else "",
        embed_dim=768,
        layers=(12,) if known else (-1,),
        pooling=ALL_TOKENS,
        max_sequence_length=0,
        long_proteins="whole",
    )
    return Requirements(embedding, ((0, -VIRAL_FROM),), 1, 1, nucleotides, is_published=True)


def settle_layers(
    config: dict[str, Any], classifier: Path, kinds: Collection[str], digest: Callable[[Path], str] = file_digest
) -> None:
    """Resolve `layers: auto` in a configuration, and check that a run's embeddings fit the classifier.

    Args:
        config: Configuration, checked; its layers are changed if they are `auto`.
        classifier: File of the classifier, read only if the run calls contigs.
        kinds: Types of the samples, `contigs`, `proteins` or `prodigal`.
        digest: Returns the SHA-256 of a file in hex.

    Raises:
        UserError: The file is not a classifier, or needs other embeddings.
    """
    if "nucleotide_model" in config and "proteins" in kinds:
        raise UserError(
            "config: nucleotide_model takes contigs, and a sample holds proteins; run these apart, without it"
        )
    trained_on = read_requirements(classifier) if config["call"] and set(kinds) - {"proteins"} else None
    if config["layers"] == "auto":
        config["layers"] = list(trained_on.embedding.layers) if trained_on else [-1]
    if trained_on:
        trained_on.check_config(config, digest)


def as_metadata(requirements: Requirements) -> dict[str, str]:
    """Return the metadata of a classifier's file."""
    values = asdict(requirements)
    for name in ("nucleotides", "is_published"):  # fields that most classifiers do not need
        if not values[name]:
            del values[name]
    # One entry: safetensors writes several entries in random order.
    return {FORMAT: json.dumps(values)}


def read_requirements(path: str | os.PathLike[str]) -> Requirements:
    """Read the requirements of a classifier's file.

    Raises:
        UserError: The file is missing, or is not a classifier that this version can use.
    """
    if Path(path).suffix == ".pth":
        return describe_published(Path(path))
    try:
        with Path(path).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")  # safetensors: the length of a JSON header, and the header
            header = json.loads(file.read(min(size, MOST_BYTES)))
        metadata = header["__metadata__"]
        if FORMAT in metadata:
            return TypeAdapter(Requirements).validate_json(metadata[FORMAT], strict=True, extra="forbid")
    except OSError as error:
        raise UserError(f"classifier {path}: {error.strerror}; give one that a training wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a classifier; give one that a training wrote") from None
    raise UserError(f"{path}: not a classifier that this version of virnucpro can use; train it again")
