"""pack: open frames to manifests of bins."""

import json
import logging
from pathlib import Path

import numpy as np

from virnucpro.data.fasta import read_fasta
from virnucpro.data.files import file_digest, write_text
from virnucpro.data.manifest import (
    Bin,
    Manifest,
    ModelIdentity,
    PackedSequence,
    WindowOf,
    sequence_digest,
    write_manifest,
)
from virnucpro.data.packing import SPECIAL_TOKENS, deal_bins, first_fit_decreasing, warn_truncated
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)


def pack(
    fasta: Path,
    token_budget: Path,
    output_dir: Path,
    sample: str,
    max_sequence_length: int = 1022,
    long_proteins: str = "cut",
    shard_tokens: int = 4_000_000,
) -> None:
    """Pack the proteins of a sample into bins, and deal the bins to shards.

    Proteins that are identical (as far as they are embedded) are packed once, under the id that comes first. Writes
    into `output_dir`: manifests/SHARD.json, one a shard; shards.tsv, the list of them; duplicates.tsv, which ids share
    the embedding of which; windows.tsv, which are windows of which protein. A manifest that would not change is not
    touched; those of shards no more are deleted.

    Args:
        fasta: proteins.
        token_budget: JSON that the token-budget stage wrote.
        output_dir: the sample's folder.
        sample: its name.
        max_sequence_length: residues that the model takes at once.
        long_proteins: what becomes of longer ones: `cut` to the N-terminal part, or `windows` that overlap.
        shard_tokens: tokens a shard, about.

    Raises:
        UserError: the FASTA cannot be read, or the budget is below one sequence.
    """
    device = json.loads(token_budget.read_text())
    budget: int = device["token_budget"]
    proteins = _read_proteins(fasta, max_sequence_length, long_proteins)
    ids, lengths = proteins.ids, proteins.lengths

    _, first, group = np.unique(proteins.keys.view("S32").ravel(), return_index=True, return_inverse=True)
    original = first[group]
    duplicates = [(ids[i], ids[original[i]]) for i in np.flatnonzero(original != np.arange(len(ids)))]

    # Every array below has one entry a distinct protein, in the order of ids, which breaks ties between equal lengths.
    kept = np.array(sorted(first.tolist(), key=ids.__getitem__), np.int64)
    tokens = lengths[kept] + SPECIAL_TOKENS
    if tokens.max(initial=0) > budget:
        raise UserError(
            f"token_budget {budget} is smaller than sequence {ids[kept[tokens.argmax()]]} with its "
            f"{tokens.max()} tokens; raise token_budget or lower max_sequence_length"
        )
    assignment = first_fit_decreasing(tokens, budget)
    bin_tokens = np.bincount(assignment, tokens).astype(np.int64)
    by_bin = np.lexsort((-tokens, assignment))
    members = np.split(kept[by_bin], np.searchsorted(assignment[by_bin], np.arange(1, len(bin_tokens))))

    shards = min(-(-int(tokens.sum()) // shard_tokens), len(bin_tokens))
    shard_of = deal_bins(bin_tokens, shards)
    rows = ["shard\tbins\tsequences\ttokens\ttruncated\ttoken_budget\tmanifest_sha256\n"]
    for number in range(shards):
        bins = [
            Bin(tokens=int(bin_tokens[index]), sequences=[proteins.packed(i) for i in members[index].tolist()])
            for index in np.flatnonzero(shard_of == number)
        ]
        shard = f"{number + 1:04d}"
        manifest = Manifest(
            version=1,
            sample=sample,
            shard=shard,
            model=ModelIdentity(name=device["model"]["name"], sha256=device["model"]["sha256"]),
            precision=device["precision"],
            max_sequence_length=max_sequence_length,
            token_budget=budget,
            bins=bins,
        )
        path = output_dir / "manifests" / f"{shard}.json"
        write_manifest(path, manifest)
        sequences = [sequence for a_bin in bins for sequence in a_bin["sequences"]]
        counts = (len(bins), len(sequences), sum(b["tokens"] for b in bins), sum(s["truncated"] for s in sequences))
        rows.append("\t".join(map(str, (shard, *counts, budget, file_digest(path)))) + "\n")
    _delete_others(output_dir, shards)
    same = (f"{name}\t{same_as}\t{name in proteins.truncated:d}\n" for name, same_as in duplicates)
    write_text(output_dir / "duplicates.tsv", "id\tsame_as\ttruncated\n" + "".join(same))
    windows = (
        f"{name}\t{of['protein']}\t{of['pool_end'] - of['pool_begin']}\n" for name, of in proteins.windows.items()
    )
    write_text(output_dir / "windows.tsv", "id\tprotein\tresidues\n" + "".join(windows))
    write_text(output_dir / "shards.tsv", "".join(rows))
    efficiency = tokens.sum() / (len(bin_tokens) * budget) if shards else 0
    logger.info(
        "pack: %s: %d proteins (%d duplicates, %d truncated) in %d bins of %d tokens, %.1f %% full, %d shards",
        *(
            sample,
            len(ids),
            len(duplicates),
            len(proteins.truncated),
            len(bin_tokens),
            budget,
            100 * efficiency,
            shards,
        ),
    )


class _Proteins:
    """What is known of the sequences of a sample, whole proteins or windows of them, in the order of the input.

    Arrays have a row a sequence: `lengths` int64, `digests` and `keys` uint8 [sequences, 32]. Sequences with the same
    key have the same embedding: their residues are the same, and of windows those that count.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.truncated: set[str] = set()
        self.windows: dict[str, WindowOf] = {}
        self._lengths: list[int] = []
        self._digests = bytearray()
        self._keys = bytearray()

    def add(self, name: str, sequence: str, pool: tuple[int, int] | None = None, cut: bool = False) -> None:
        digest = sequence_digest(sequence)
        self.ids.append(name)
        self._lengths.append(len(sequence))
        self._digests += digest
        # What was cut is no duplicate of what was not, nor are windows of which other residues count.
        self._keys += sequence_digest(f"{sequence} {pool} {cut}") if pool or cut else digest
        if cut:
            self.truncated.add(name)

    def finish(self) -> None:
        self.lengths = np.array(self._lengths, np.int64)
        self.digests, self.keys = (
            np.frombuffer(bytes(rows), np.uint8).reshape(-1, 32) for rows in (self._digests, self._keys)
        )

    def packed(self, index: int) -> PackedSequence:
        name = self.ids[index]
        sequence = PackedSequence(
            id=name,
            length=int(self.lengths[index]),
            sha256=self.digests[index].tobytes().hex(),
            truncated=name in self.truncated,
        )
        if name in self.windows:
            sequence["window"] = self.windows[name]
        return sequence


def _read_proteins(fasta: Path, longest: int, long_proteins: str) -> _Proteins:
    proteins = _Proteins()
    for name, protein in read_fasta(fasta, may_be_empty=True):
        if len(protein) <= longest:
            proteins.add(name, protein)
        elif long_proteins == "windows":
            for window in overlapping_windows(len(protein), longest):
                part = f"{name}/{window.begin + 1}-{window.end}"  # as alignments name parts of sequences
                pool = (window.pool_begin - window.begin, window.pool_end - window.begin)
                proteins.add(part, protein[window.begin : window.end], pool)
                proteins.windows[part] = WindowOf(
                    protein=name, begin=window.begin, pool_begin=window.pool_begin, pool_end=window.pool_end
                )
        else:
            warn_truncated(name, len(protein), longest)
            proteins.add(name, protein[:longest], cut=True)
    proteins.finish()
    if proteins.windows and len(set(proteins.ids)) < len(proteins.ids):
        raise UserError(f"{fasta}: a protein is named like a window over another, NAME/FIRST-LAST; rename it")
    return proteins


def _delete_others(output_dir: Path, shards: int) -> None:
    """Delete the manifests, and the embeddings made from them, of shards that are no more."""
    for folder in ("manifests", "shards"):
        for path in (output_dir / folder).glob("[0-9]*.*"):
            if int(path.stem) > shards:
                path.unlink()
