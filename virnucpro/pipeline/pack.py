"""pack: proteins to manifests of bins."""

import logging
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.cards import read_token_budget
from virnucpro.data.description import describe_embeddings, packing_settings
from virnucpro.data.files import remove_leftovers, write_text
from virnucpro.data.manifest import Bin, Manifest, PackedSequence, WindowOf, sequence_digest, write_manifest
from virnucpro.data.packing import SPECIAL_TOKENS, deal_bins, first_fit_decreasing, warn_truncated
from virnucpro.data.provenance import checked_input, read_provenance, write_provenance
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

FAR_OFF = 2  # times as many tokens in a shard as were wanted, from which a warning is given


def pack(
    folder: Path,
    token_budget: Path,
    sample: str,
    layers: Sequence[int],
    max_sequence_length: int,
    long_proteins: str,
    shards: int,
    shard_tokens: int,
) -> None:
    """Pack the proteins of a sample into bins, and deal the bins to shards.

    Proteins that are identical (as far as they are embedded) are packed once, under the id that comes first. Writes
    into the folder: manifests/SHARD.json for every shard, 0001 and so on; duplicates.tsv, which proteins share the
    embedding of which; manifests.provenance.json. Manifests and embeddings of shards that are no more are deleted.

    Args:
        folder: the sample's, with what prepare wrote.
        token_budget: JSON that the token-budget stage wrote.
        sample: its name.
        layers: numbers of the layers wanted; negative ones count from the end.
        max_sequence_length: residues that the model takes at once.
        long_proteins: what becomes of longer ones: `cut` to the N-terminal part, or `windows` that overlap.
        shards: how many there are to be; those that get no bin are empty.
        shard_tokens: tokens a shard should have, about; for a message where they are far more.

    Raises:
        UserError: a file is not what the stages before wrote, the model has no such layer, or the budget is below one
            sequence.
    """
    device = read_token_budget(token_budget)
    budget = device["token_budget"]
    prepared, manifests = folder / "prepared", folder / "manifests"
    record = prepared / "provenance.json"
    settings = read_provenance(record).settings
    description = describe_embeddings(device, settings, layers, max_sequence_length, long_proteins)
    inputs = {name: checked_input(prepared / name, record) for name in ("proteins.tsv", "proteins.faa")}
    provenance = folder / "manifests.provenance.json"
    provenance.unlink(missing_ok=True)  # what it says of the manifests will be true no more
    proteins = _read(prepared, max_sequence_length, long_proteins == "windows")

    _, first, group = np.unique(proteins.keys.view("S32").ravel(), return_index=True, return_inverse=True)
    original = first[group]
    duplicates = np.flatnonzero(original != np.arange(len(original)))

    # Every array below has an entry for each distinct sequence, in the order of ids, which breaks ties of length.
    kept = np.array(sorted(first.tolist(), key=proteins.place), np.int64)
    tokens = proteins.lengths[kept] + SPECIAL_TOKENS
    if tokens.max(initial=0) > budget:
        raise UserError(
            f"token_budget {budget} is smaller than sequence {proteins.place(kept[tokens.argmax()])[0]} with its "
            f"{tokens.max()} tokens; raise token_budget or lower max_sequence_length"
        )
    assignment = first_fit_decreasing(tokens, budget)
    bin_tokens = np.bincount(assignment, tokens).astype(np.int64)
    by_bin = np.lexsort((-tokens, assignment))
    members = np.split(kept[by_bin], np.searchsorted(assignment[by_bin], np.arange(1, len(bin_tokens))))

    shard_of = deal_bins(bin_tokens, shards)
    counts: list[dict[str, Any]] = []
    paths: list[Path] = []
    for number in range(shards):
        bins = [
            Bin(tokens=int(bin_tokens[index]), sequences=[proteins.packed(i) for i in members[index].tolist()])
            for index in np.flatnonzero(shard_of == number)
        ]
        shard = f"{number + 1:04d}"
        paths.append(manifests / f"{shard}.json")
        remove_leftovers(paths[-1])
        write_manifest(
            paths[-1],
            Manifest(
                version=2,
                sample=sample,
                shard=shard,
                embedding=description.as_json(),
                token_budget=budget,
                bins=bins,
            ),
        )
        sequences = [sequence for a_bin in bins for sequence in a_bin["sequences"]]
        counts.append(
            {
                "shard": shard,
                "bins": len(bins),
                "sequences": len(sequences),
                "tokens": sum(a_bin["tokens"] for a_bin in bins),
                "truncated": sum(sequence["truncated"] for sequence in sequences),
            }
        )
    _delete_others(folder, shards)
    table = folder / "duplicates.tsv"
    rows = (
        "\t".join(map(str, (*proteins.place(i), *proteins.place(original[i]), int(proteins.truncated[i])))) + "\n"
        for i in duplicates.tolist()
    )
    write_text(table, "protein\tbegin\tsame_as\tsame_as_begin\ttruncated\n" + "".join(rows))
    truncated = int(proteins.truncated.sum())
    details = {
        "token_budget": budget,
        "shards": counts,
        "duplicates": len(duplicates),
        "truncated": truncated,
        "embedding": description.digest,
    }
    settings = packing_settings(description, budget, shards)
    write_provenance(provenance, "pack", settings, inputs, [*paths, table], details)
    logger.info(
        "pack: %s: %d proteins (%d duplicates, %d truncated) in %d bins of %d tokens, %.1f %% full, %d shards",
        *(sample, len(proteins.ids), len(duplicates), truncated, len(bin_tokens), budget),
        *(100 * tokens.sum() / max(len(bin_tokens) * budget, 1), shards),
    )
    most = max(count["tokens"] for count in counts)
    if most > FAR_OFF * shard_tokens:
        logger.warning(
            "%s: %d tokens in a shard where shard_tokens asks for %d: its size was guessed from that of its file",
            *(sample, most, shard_tokens),
        )


def _read(prepared: Path, longest: int, windows: bool) -> "_Sequences":
    table = read_proteins(prepared, "protein", "residues", "offset")
    if not windows:
        for name, residues in table.loc[table["residues"] > longest, ["protein", "residues"]].itertuples(index=False):
            warn_truncated(name, residues, longest)
    with (prepared / "proteins.faa").open("rb") as file:
        if table.empty:
            return _Sequences(table, b"", longest, windows)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as residues_of:
            return _Sequences(table, residues_of, longest, windows)


class _Sequences:
    """What is to be embedded of a sample's proteins, whole proteins or windows over them, in the order of the input.

    Attributes:
        ids: of all proteins.
        protein: number of each sequence's protein, int64 [sequences].
        begin, lengths: residues of the protein before it and in it, int64 [sequences].
        offsets: byte of proteins.faa at which it begins, int64 [sequences].
        truncated: whether it is what is left of a longer protein, bool [sequences].
        pools: of a window, the span of its residues that count, in the protein; int64 [sequences, 2], -1 for others.
        digests: SHA-256 of its residues, uint8 [sequences, 32].
        keys: equal for sequences that have the same embedding, uint8 [sequences, 32].
    """

    def __init__(self, proteins: pd.DataFrame, residues_of: mmap.mmap | bytes, longest: int, windows: bool) -> None:
        self.ids: list[str] = proteins["protein"].tolist()
        residues, starts = (proteins[name].to_numpy(np.int64) for name in ("residues", "offset"))
        self.protein, self.begin, self.lengths, self.pools = _parts(residues, longest, windows)
        self.offsets = starts[self.protein] + self.begin
        whole = residues[self.protein]
        self.truncated = (self.lengths < whole) & (self.pools[:, 0] < 0)
        digests, keys = bytearray(), bytearray()
        spans = zip(self.offsets.tolist(), self.lengths.tolist(), strict=True)
        # What was cut is no duplicate of what was not, nor are windows of which other residues count.
        pooled = (self.pools - self.begin[:, None]).tolist()
        for (offset, length), pool, cut in zip(spans, pooled, self.truncated.tolist(), strict=True):
            sequence = residues_of[offset : offset + length]
            digests += (digest := sequence_digest(sequence))
            keys += sequence_digest(b"%b %d %d %d" % (sequence, *pool, cut)) if cut or pool[0] >= 0 else digest
        self.digests, self.keys = (np.frombuffer(bytes(rows), np.uint8).reshape(-1, 32) for rows in (digests, keys))

    def place(self, index: int) -> tuple[str, int]:
        """Return the id of a sequence's protein, and the residues before it."""
        return self.ids[self.protein[index]], int(self.begin[index])

    def packed(self, index: int) -> PackedSequence:
        """Return a sequence as a manifest has it."""
        name, begin = self.place(index)
        sequence = PackedSequence(
            id=name,
            offset=int(self.offsets[index]),
            length=int(self.lengths[index]),
            sha256=self.digests[index].tobytes().hex(),
            truncated=bool(self.truncated[index]),
        )
        pool_begin, pool_end = self.pools[index].tolist()
        if pool_begin >= 0:
            sequence["window"] = WindowOf(begin=begin, pool_begin=pool_begin, pool_end=pool_end)
        return sequence


def _parts(
    residues: npt.NDArray[np.int64], longest: int, windows: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return protein, begin, length and pooled span of every sequence that proteins of some lengths are embedded as."""
    protein = np.arange(len(residues))
    begin, lengths = np.zeros(len(residues), np.int64), np.minimum(residues, longest)
    pools = np.full((len(residues), 2), -1)
    if not windows or not (residues > longest).any():
        return protein, begin, lengths, pools
    spans = [overlapping_windows(length, longest) if length > longest else [] for length in residues.tolist()]
    count = np.array([max(len(of_one), 1) for of_one in spans])
    protein = np.repeat(protein, count)
    begin, lengths, pools = begin[protein], lengths[protein], pools[protein]
    of_windows = residues[protein] > longest
    flat = np.array([window for of_one in spans for window in of_one])
    begin[of_windows], pools[of_windows] = flat[:, 0], flat[:, 2:]
    return protein, begin, lengths, pools


def _delete_others(folder: Path, shards: int) -> None:
    """Delete the manifests of shards that are no more, and the embeddings made from them."""
    for part in ("manifests", "shards"):
        for path in (folder / part).glob("[0-9]*.*"):
            if int(path.stem) > shards:
                path.unlink()
