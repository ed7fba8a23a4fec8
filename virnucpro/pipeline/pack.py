"""pack: pack proteins, or the nucleotides of frames, into bins and write manifests."""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro.calling.screen import NOTHING, SCREENED, load_screen, screen_genes
from virnucpro.data.arrays import Integers
from virnucpro.data.cards import read_token_budget
from virnucpro.data.description import (
    NUCLEOTIDES,
    PROTEINS,
    describe_embeddings,
    describe_nucleotides,
)
from virnucpro.data.files import file_digest, write_text
from virnucpro.data.manifest import Bin, Manifest, write_manifest
from virnucpro.data.packing import deal_bins
from virnucpro.data.provenance import begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.data.tables import write_table
from virnucpro.embedding.pieces import PackableSequences, pack_bins
from virnucpro.encoders.names import TOKENIZER
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

BLOCK = 50_000  # frames whose nucleotides are tokenized at once
FAR_OFF = 2  # warn if a shard has twice the tokens of `shard_tokens`


def pack(
    work: Path,
    token_budget: Path,
    sample: str,
    layers: Sequence[int],
    max_sequence_length: int,
    long_proteins: str,
    shards: int,
    shard_tokens: int,
    nucleotides: str | None = None,
    screen: Path | None = None,
) -> None:
    """Pack the proteins of a sample into bins, and deal the bins to shards.

    Proteins whose embedded parts are identical are packed once, under the first id. Nucleotides of frames are packed
    whole, under the ids of their proteins. The stage writes manifests/SHARD.json, with shards 0001 and so on;
    duplicates.tsv, pairs of proteins with the same embedding; and pack.json, the record. Names for nucleotides end in
    `_nucleotides`. For proteins it also writes screened.tsv, the genes that are not packed, with their log-odds.

    Args:
        work: Folder of the sample below `work`, with the files of prepare.
        token_budget: JSON of stage token-budget, for the encoder.
        layers: Numbers of the layers to return; negative numbers count from the end.
        max_sequence_length: Residues that the model takes at once.
        long_proteins: Treatment of longer proteins: `cut` to the N-terminal part, or split into `windows` that overlap.
        shards: Number of shards; surplus shards are empty.
        shard_tokens: Expected tokens of a shard; many more give a warning.
        nucleotides: Name or path of the model for nucleotides of frames; None packs proteins.
        screen: Screen of the classifier; None packs all proteins.

    Raises:
        UserError: A file is not as an earlier stage wrote it, the model has no such layer, or a sequence exceeds the
            budget.
    """
    device = read_token_budget(token_budget)
    budget = device["token_budget"]
    prepared, prepare_record = work / "prepared", work / "prepare.json"
    settings = read_provenance(prepare_record, "prepare").settings
    read = ("proteins.tsv", "proteins.faa" if nucleotides is None else "nucleotides.fna")
    inputs = {name: checked_input(prepared / name, prepare_record, "prepare") for name in read}
    screened = NOTHING
    if nucleotides is None:
        description = describe_embeddings(device, settings, layers, max_sequence_length, long_proteins)
        needed = () if screen else ("protein", "residues", "offset")
        listed, tokens_of = read_proteins(prepared, *needed), None
        if screen and len(listed):
            inputs["records.tsv"] = checked_input(prepared / "records.tsv", prepare_record, "prepare")
            inputs["screen"] = file_digest(screen)
            screened = screen_genes(load_screen(screen), listed, prepared)
            listed = listed[~listed["protein"].isin(screened.index)]
    else:
        description = describe_nucleotides(device, settings, layers)
        listed, tokens_of = _read_nucleotides(prepared, nucleotides)
    proteins = PackableSequences(listed, prepared / read[1], description, tokens_of)
    encoder = PROTEINS if nucleotides is None else NUCLEOTIDES
    manifests, record = work / f"manifests{encoder}", work / f"pack{encoder}.json"

    original, pieces = proteins.original, proteins.pieces
    is_first = original == np.arange(len(original))
    duplicates = np.flatnonzero(~is_first)
    kept = np.array(sorted(np.flatnonzero(is_first).tolist(), key=proteins.place), np.int64)  # ids break ties of length
    tokens = proteins.tokens[kept]
    members = [kept[a_bin] for a_bin in pack_bins(tokens, budget, lambda number: proteins.place(kept[number])[0])]
    bin_tokens = np.array([proteins.tokens[a_bin].sum() for a_bin in members], np.int64)

    shard_of = deal_bins(bin_tokens, shards)
    counts: list[dict[str, Any]] = []
    paths = [manifests / f"{number:04d}.json" for number in range(1, shards + 1)]
    table = work / f"duplicates{encoder}.tsv"
    outputs = [*paths, table, *([work / SCREENED] if nucleotides is None else [])]
    begin_writing(record, outputs)
    for number, path in enumerate(paths):
        bins = [
            Bin(tokens=int(bin_tokens[index]), sequences=[proteins.packed(i) for i in members[index].tolist()])
            for index in np.flatnonzero(shard_of == number)
        ]
        made = Manifest(
            version=2, sample=sample, shard=path.stem, embedding=description, token_budget=budget, bins=bins
        )
        write_manifest(path, made)
        truncated = [sequence["truncated"] for a_bin in bins for sequence in a_bin["sequences"]]
        count = {"shard": path.stem, "bins": len(bins), "sequences": len(truncated)}
        counts.append(count | {"tokens": sum(a_bin["tokens"] for a_bin in bins), "truncated": sum(truncated)})
    rows = (
        "\t".join(map(str, (*proteins.place(i), *proteins.place(original[i]), int(pieces.truncated[i])))) + "\n"
        for i in duplicates.tolist()
    )
    write_text(table, "protein\tbegin\tsame_as\tsame_as_begin\ttruncated\n" + "".join(rows))
    if nucleotides is None:
        write_table(screened.reset_index(), work / SCREENED)
    cut = int(pieces.truncated.sum())
    details = {"token_budget": budget, "shards": counts, "duplicates": len(duplicates), "truncated": cut}
    details |= {"embedding": description.digest, "screened": len(screened)}
    details["architecture"] = device["model"]["architecture"]
    settings = {"embedding": description.as_json(), "token_budget": budget, "shards": shards}
    write_provenance(record, "pack", settings, inputs, outputs, details)
    logger.info(
        "pack: %s: %d proteins (%d duplicates, %d truncated) in %d bins of %d tokens, %.1f %% full, %d shards; "
        "%d clearly cellular genes are not embedded",
        *(sample, len(proteins.ids), len(duplicates), cut, len(bin_tokens), budget),
        *(100 * tokens.sum() / max(len(bin_tokens) * budget, 1), shards, len(screened)),
    )
    most = max(count["tokens"] for count in counts)
    if most > FAR_OFF * shard_tokens:
        logger.warning(
            "%s: %d tokens in a shard, but shard_tokens is %d: the size of the sample was estimated from its file",
            *(sample, most, shard_tokens),
        )


def _read_nucleotides(prepared: Path, model: str) -> tuple[pd.DataFrame, Integers]:
    """Return the names, lengths and offsets of nucleotides as a table of proteins, and the tokens of each."""
    from virnucpro.encoders.dnabert_tokenizer import DNABERTTokenizer  # loaded here: it loads torch
    from virnucpro.encoders.weights import find_weights

    tokenizer = DNABERTTokenizer(find_weights(model, for_nucleotides=True).path.with_name(TOKENIZER))
    fasta = prepared / "nucleotides.fna"
    names: list[str] = []
    lengths, tokens = [], []  # per line, and per record
    with fasta.open("rb") as file:
        while lines := list(islice(file, 2 * BLOCK)):  # a record has a line for its name and one for its letters
            letters = [line[:-1].decode() for line in lines[1::2]]
            names += [line[1:-1].decode() for line in lines[::2]]
            tokens += tokenizer(names[-len(letters) :], letters)[1]
            lengths += [len(line) for line in lines]
    if names != read_proteins(prepared, "protein")["protein"].tolist():
        raise UserError(f"{fasta}: not the frames of the proteins beside it; run the prepare stage again")
    bases, offsets = np.array(lengths[1::2], np.int64) - 1, np.cumsum(lengths, dtype=np.int64)[::2]
    table = pd.DataFrame({"protein": names, "residues": bases, "offset": offsets})
    return table, np.array(tokens, np.int64)
