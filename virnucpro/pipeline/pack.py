"""pack: proteins, or the nucleotides of frames, to manifests of bins."""

import logging
import mmap
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.cards import read_token_budget
from virnucpro.data.description import NUCLEOTIDES, describe_embeddings, describe_nucleotides, packing_settings
from virnucpro.data.files import write_text
from virnucpro.data.manifest import Bin, Manifest, PackedSequence, WindowOf, sequence_digest, write_manifest
from virnucpro.data.packing import SPECIAL_TOKENS, deal_bins, first_fit_decreasing, warn_truncated
from virnucpro.data.provenance import RECORDS, begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.data.windows import overlapping_windows
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

BLOCK = 50_000  # frames whose nucleotides are tokenised at once
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
    nucleotides: str | None = None,
) -> None:
    """Pack the proteins of a sample into bins, and deal the bins to shards.

    Proteins that are identical (as far as they are embedded) are packed once, under the id that comes first. Writes
    into the folder: manifests/SHARD.json for every shard, 0001 and so on; duplicates.tsv, which proteins share the
    embedding of which. Manifests and embeddings of shards that are no more are deleted.

    The nucleotides of frames are packed whole, under the ids of their proteins, into a folder of that name in the
    sample's.

    Args:
        folder: the sample's, with what prepare wrote.
        token_budget: JSON that the token-budget stage wrote, of the model that is to embed.
        sample: its name.
        layers: numbers of the layers wanted; negative ones count from the end.
        max_sequence_length: residues that the model takes at once.
        long_proteins: what becomes of longer ones: `cut` to the N-terminal part, or `windows` that overlap.
        shards: how many there are to be; those that get no bin are empty.
        shard_tokens: tokens a shard should have, about; for a message where they are far more.
        nucleotides: name or path of the model for nucleotides, whose nucleotides of frames are to be packed; None to
            pack proteins.

    Raises:
        UserError: a file is not what the stages before wrote, the model has no such layer, or the budget is below one
            sequence.
    """
    device = read_token_budget(token_budget)
    budget = device["token_budget"]
    prepared = folder / "prepared"
    settings = read_provenance(folder / RECORDS, "prepare").settings
    read = ("proteins.tsv", "proteins.faa" if nucleotides is None else "nucleotides.fna")
    inputs = {name: checked_input(prepared / name, folder / RECORDS, "prepare") for name in read}
    if nucleotides is None:
        description = describe_embeddings(device, settings, layers, max_sequence_length, long_proteins)
        proteins = _read(prepared, max_sequence_length, long_proteins == "windows")
    else:
        folder = folder / NUCLEOTIDES
        description = describe_nucleotides(device, settings, layers)
        proteins = _read_nucleotides(prepared, nucleotides)
    manifests, records = folder / "manifests", folder / RECORDS

    _, first, group = np.unique(proteins.keys.view("S32").ravel(), return_index=True, return_inverse=True)
    original = first[group]
    duplicates = np.flatnonzero(original != np.arange(len(original)))

    # Every array below has an entry for each distinct sequence, in the order of ids, which breaks ties of length.
    kept = np.array(sorted(first.tolist(), key=proteins.place), np.int64)
    tokens = proteins.tokens[kept]
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
    paths = [manifests / f"{number:04d}.json" for number in range(1, shards + 1)]
    table = folder / "duplicates.tsv"
    begin_writing(records, "pack", [*paths, table])
    for number, path in enumerate(paths):
        bins = [
            Bin(tokens=int(bin_tokens[index]), sequences=[proteins.packed(i) for i in members[index].tolist()])
            for index in np.flatnonzero(shard_of == number)
        ]
        write_manifest(
            path,
            Manifest(
                version=2,
                sample=sample,
                shard=path.stem,
                embedding=description,
                token_budget=budget,
                bins=bins,
            ),
        )
        sequences = [sequence for a_bin in bins for sequence in a_bin["sequences"]]
        counts.append(
            {
                "shard": path.stem,
                "bins": len(bins),
                "sequences": len(sequences),
                "tokens": sum(a_bin["tokens"] for a_bin in bins),
                "truncated": sum(sequence["truncated"] for sequence in sequences),
            }
        )
    _delete_others(folder, shards)
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
    write_provenance(records, "pack", settings, inputs, [*paths, table], details)
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
    return _of_file(table, prepared / "proteins.faa", longest, windows)


def _read_nucleotides(prepared: Path, model: str) -> "_Sequences":
    from virnucpro.encoders.dnabert_tokenizer import DNABERTTokenizer  # here: with these comes torch
    from virnucpro.encoders.weights import find_nucleotide_weights

    tokenizer = DNABERTTokenizer.beside(find_nucleotide_weights(model).path)
    fasta = prepared / "nucleotides.fna"
    names: list[str] = []
    bases, offsets, tokens = [], [], []
    offset = 0
    with fasta.open("rb") as file:
        while lines := list(islice(file, 2 * BLOCK)):  # a record has a line for its name and one for its letters
            letters = [line[:-1].decode() for line in lines[1::2]]
            names += [line[1:-1].decode() for line in lines[::2]]
            tokens += tokenizer(names[-len(letters) :], letters)[1]
            for head, line in zip(lines[::2], lines[1::2], strict=True):
                offsets.append(offset + len(head))
                bases.append(len(line) - 1)
                offset += len(head) + len(line)
    if names != read_proteins(prepared, "protein")["protein"].tolist():
        raise UserError(f"{fasta}: not the frames of the proteins beside it; run the prepare stage again")
    table = pd.DataFrame({"protein": names, "residues": bases, "offset": offsets})
    return _of_file(table, fasta, max(bases, default=0), False, np.array(tokens, np.int64))


def _of_file(
    table: pd.DataFrame, letters: Path, longest: int, windows: bool, tokens: npt.NDArray[np.int64] | None = None
) -> "_Sequences":
    with letters.open("rb") as file:
        if table.empty:
            return _Sequences(table, b"", longest, windows, tokens)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _Sequences(table, mapped, longest, windows, tokens)


class _Sequences:
    """What is to be embedded of a sample's proteins, whole proteins or windows over them, in the order of the input.

    Attributes:
        ids: of all proteins.
        protein: number of each sequence's protein, int64 [sequences].
        begin, lengths: residues of the protein before it and in it, int64 [sequences].
        offsets: byte of proteins.faa at which it begins, int64 [sequences].
        truncated: whether it is what is left of a longer protein, bool [sequences].
        pools: of a window, the span of its residues that count, in the protein; int64 [sequences, 2], -1 for others.
        tokens: of it, special ones included, int64 [sequences].
        of_letters: whether its tokens are its letters and two more.
        digests: SHA-256 of its residues, uint8 [sequences, 32].
        keys: equal for sequences that have the same embedding, uint8 [sequences, 32].
    """

    def __init__(
        self,
        proteins: pd.DataFrame,
        residues_of: mmap.mmap | bytes,
        longest: int,
        windows: bool,
        tokens: npt.NDArray[np.int64] | None,
    ) -> None:
        self.ids: list[str] = proteins["protein"].tolist()
        residues, starts = (proteins[name].to_numpy(np.int64) for name in ("residues", "offset"))
        self.protein, self.begin, self.lengths, self.pools = _parts(residues, longest, windows)
        self.offsets = starts[self.protein] + self.begin
        self.of_letters = tokens is None
        self.tokens = self.lengths + SPECIAL_TOKENS if tokens is None else tokens
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
        if not self.of_letters:
            sequence["tokens"] = int(self.tokens[index])
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
    """Delete the manifests of shards that are no more, the embeddings made from them, and what kills left of both."""
    for path in (*folder.glob("manifests/*"), *folder.glob("shards/*")):
        number = path.name.removeprefix(".").partition(".")[0]
        if number.isdigit() and int(number) > shards:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
