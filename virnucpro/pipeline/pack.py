"""pack: open frames to manifests of bins."""

import json
import logging
from pathlib import Path

import numpy as np

from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import write_text
from virnucpro.data.manifest import Bin, Manifest, PackedSequence, sequence_digest, write_manifest
from virnucpro.data.packing import SPECIAL_TOKENS, deal_bins, first_fit_decreasing, warn_truncated
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)


def pack(
    frames: Path,
    token_budget: Path,
    output_dir: Path,
    sample: str,
    max_sequence_length: int = 1022,
    shard_tokens: int = 4_000_000,
) -> None:
    """Pack the proteins of a sample into bins, and deal the bins to shards.

    Proteins that are identical (as far as they are embedded) are packed once, under the id that comes first. Writes
    into `output_dir`: manifests/SHARD.json, one a shard; shards.tsv, the list of them; duplicates.tsv, which ids share
    the embedding of which. A manifest that would not change is not touched; those of shards no more are deleted.

    Args:
        frames: FASTA of proteins.
        token_budget: JSON that the token-budget stage wrote.
        output_dir: the sample's folder.
        sample: its name.
        max_sequence_length: residues; longer proteins are cut to the N-terminal part.
        shard_tokens: tokens a shard, about.

    Raises:
        UserError: the FASTA cannot be read, or the budget is below one sequence.
    """
    device = json.loads(token_budget.read_text())
    budget: int = device["token_budget"]
    ids, lengths, digests, truncated = _read_proteins(frames, max_sequence_length)

    _, first, group = np.unique(digests.view("S32").ravel(), return_index=True, return_inverse=True)
    original = first[group]
    duplicates = [(ids[i], ids[original[i]]) for i in np.flatnonzero(original != np.arange(len(ids)))]

    # Every array below has one entry a distinct protein, in the order of ids, which breaks ties between equal lengths.
    kept = np.array(sorted(first.tolist(), key=ids.__getitem__), np.int64)
    tokens = lengths[kept] + SPECIAL_TOKENS
    if tokens.max(initial=0) > budget:
        raise UserError(
            f"sample {sample}: token_budget {budget} is smaller than sequence {ids[kept[tokens.argmax()]]} with its "
            f"{tokens.max()} tokens; raise token_budget or lower max_sequence_length"
        )
    assignment = first_fit_decreasing(tokens, budget)
    bin_tokens = np.bincount(assignment, tokens).astype(np.int64)
    by_bin = np.lexsort((-tokens, assignment))
    members = np.split(kept[by_bin], np.searchsorted(assignment[by_bin], np.arange(1, len(bin_tokens))))

    shards = min(-(-int(tokens.sum()) // shard_tokens), len(bin_tokens))
    shard_of = deal_bins(bin_tokens, shards)
    rows = ["shard\tbins\tsequences\ttokens\ttruncated\ttoken_budget\n"]
    for number in range(shards):
        bins = [
            Bin(
                tokens=int(bin_tokens[index]),
                sequences=[
                    PackedSequence(
                        id=ids[i],
                        length=int(lengths[i]),
                        sha256=digests[i].tobytes().hex(),
                        truncated=ids[i] in truncated,
                    )
                    for i in members[index]
                ],
            )
            for index in np.flatnonzero(shard_of == number)
        ]
        shard = f"{number + 1:04d}"
        manifest = Manifest(
            version=1,
            sample=sample,
            shard=shard,
            model=device["model"],
            precision=device["precision"],
            max_sequence_length=max_sequence_length,
            token_budget=budget,
            bins=bins,
        )
        write_manifest(output_dir / "manifests" / f"{shard}.json", manifest)
        sequences = [sequence for a_bin in bins for sequence in a_bin["sequences"]]
        counts = (len(bins), len(sequences), sum(b["tokens"] for b in bins), sum(s["truncated"] for s in sequences))
        rows.append("\t".join(map(str, (shard, *counts, budget))) + "\n")
    _delete_others(output_dir / "manifests", shards)
    write_text(output_dir / "duplicates.tsv", "id\tsame_as\n" + "".join(f"{a}\t{b}\n" for a, b in duplicates))
    write_text(output_dir / "shards.tsv", "".join(rows))
    efficiency = tokens.sum() / (len(bin_tokens) * budget) if shards else 0
    logger.info(
        "pack: %s: %d proteins (%d duplicates, %d truncated) in %d bins of %d tokens, %.1f %% full, %d shards",
        *(sample, len(ids), len(duplicates), len(truncated), len(bin_tokens), budget, 100 * efficiency, shards),
    )


def _read_proteins(frames: Path, max_sequence_length: int) -> tuple[list[str], np.ndarray, np.ndarray, set[str]]:
    """Return ids, lengths (int64) and digests (uint8 [n, 32]) of the proteins as embedded, and the ids of those cut."""
    ids: list[str] = []
    lengths: list[int] = []
    digests = bytearray()
    truncated: set[str] = set()
    for name, protein in read_fasta(frames, may_be_empty=True):
        if len(protein) > max_sequence_length:
            truncated.add(name)
            warn_truncated(name, len(protein), max_sequence_length)
            protein = protein[:max_sequence_length]
        ids.append(name)
        lengths.append(len(protein))
        digests += sequence_digest(protein)
    return ids, np.array(lengths, np.int64), np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32), truncated


def _delete_others(manifests: Path, shards: int) -> None:
    for path in manifests.glob("*.json"):
        if int(path.stem) > shards:
            path.unlink()
