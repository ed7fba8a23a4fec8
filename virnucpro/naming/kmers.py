"""K-mers of proteins that contigs share with known viruses.

A k-mer has 7 residues of the 20 amino acids. One in eight k-mers is kept, the same ones in contigs and references
(FracMinHash, Irber et al. 2022, doi 10.1101/2022.01.11.475838).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.arrays import Integers
from virnucpro.data.records import AMINO_ACIDS
from virnucpro.errors import UserError

K = 7  # residues
MOST_REFERENCES = 65_536
SCALED = 8  # one in eight k-mers is kept

Kmers = npt.NDArray[np.uint32]  # 20 ** 7 fits

_NONE = 255
_CODES = np.full(256, _NONE, np.uint8)
_CODES[np.frombuffer(AMINO_ACIDS, np.uint8)] = np.arange(len(AMINO_ACIDS))


class Sketches(NamedTuple):
    """Kept k-mers, sorted by owner and k-mer, each once per owner.

    Attributes:
        owners: Number of the contig or reference of each k-mer, int64 [k-mers].
        kmers: K-mers as numbers in base 20, uint32 [k-mers].
    """

    owners: Integers
    kmers: Kmers


def sketch(proteins: Sequence[bytes], owners: Integers) -> Sketches:
    """Return the kept k-mers of proteins, by the owner of each protein.

    Args:
        proteins: Residues in upper case.
        owners: Number of the contig or reference of each protein, int64 [proteins].

    Examples:
        Letters other than the 20 amino acids, such as X, are in no k-mer.

        >>> both = sketch([b"MKLVINGKTLKGEITIEA", b"MKLVINGKTLKGEITIEAXXX"], np.array([0, 1]))
        >>> both.kmers[both.owners == 0].tolist() == both.kmers[both.owners == 1].tolist()
        True
    """
    letters = _CODES[np.frombuffer(b"*".join([*proteins, b""]), np.uint8)]
    count = max(0, len(letters) - K + 1)
    kmers, is_whole = np.zeros(count, np.uint64), np.ones(count, np.bool_)
    for position in range(K):
        letter = letters[position : position + count]
        kmers = kmers * np.uint64(len(AMINO_ACIDS)) + letter
        is_whole &= letter != _NONE
    kept = np.flatnonzero(is_whole)
    kept = kept[_is_kept(kmers[kept])]
    ends = np.cumsum([len(protein) + 1 for protein in proteins])
    owner = np.asarray(owners, np.uint64)[np.searchsorted(ends, kept, side="right")]
    pairs = np.unique(owner << np.uint64(32) | kmers[kept])
    return Sketches((pairs >> np.uint64(32)).astype(np.int64), pairs.astype(np.uint32))


def _is_kept(kmers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return whether each k-mer is kept, by a hash: SplitMix64 without its first step (Steele et al. 2014)."""
    hashes = (kmers ^ (kmers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((hashes ^ (hashes >> np.uint64(31))) < np.uint64(2**64 // SCALED))


class Index(NamedTuple):
    """Index from k-mers to the references that have them.

    Attributes:
        kmers: Distinct k-mers of all references, sorted, uint32 [k-mers].
        sets: Number of the set of references that have each k-mer, int64 [k-mers].
        starts: Start of each set in `members`, and the end of the last one, int64 [sets + 1].
        members: Numbers of references, int64.
    """

    kmers: Kmers
    sets: Integers
    starts: Integers
    members: Integers


def index(sketches: Sketches) -> Index:
    """Return the index of references' k-mers; it stores each set of references once, to be small."""
    if len(sketches.owners) and sketches.owners.max() >= MOST_REFERENCES:
        raise UserError(f"references: more than {MOST_REFERENCES:,} records; give fewer, such as one of each species")
    order = np.lexsort((sketches.owners, sketches.kmers))
    members = sketches.owners[order].astype(np.uint16).astype(">u2")  # big-endian: bytes sort like numbers
    kmers, firsts = np.unique(sketches.kmers[order], return_index=True)
    ends = np.append(firsts, len(members))[1:]
    sets = [members[first:end].tobytes() for first, end in zip(firsts.tolist(), ends.tolist(), strict=True)]
    unique = sorted(set(sets))
    number = {one: number for number, one in enumerate(unique)}
    starts = np.cumsum([0, *(len(one) // 2 for one in unique)])
    joined = np.frombuffer(b"".join(unique), ">u2").astype(np.int64)
    return Index(kmers, np.array([number[one] for one in sets], np.int64), starts, joined)


def shared_kmers(sketches: Sketches, index: Index) -> pd.DataFrame:
    """Return the number of k-mers that owners and references share, one row for each pair that shares any.

    Columns: `owner`; `reference`, its number; `shared`, the shared k-mers; `kmers`, all k-mers of the owner. Rows are
    sorted by owner, then by shared k-mers, most first.

    Examples:
        Reference 0 has k-mers 11 and 12, reference 1 has 12 only.

        >>> references = index(Sketches(np.array([0, 0, 1]), np.array([11, 12, 12], np.uint32)))
        >>> shared_kmers(Sketches(np.array([0, 0, 0]), np.array([11, 12, 13], np.uint32)), references)
           owner  reference  shared  kmers
        0      0          0       2      3
        1      0          1       1      3
    """
    place = np.searchsorted(index.kmers, sketches.kmers).clip(max=max(0, len(index.kmers) - 1))
    found = np.flatnonzero(index.kmers[place] == sketches.kmers) if len(index.kmers) else np.empty(0, np.int64)
    sets = index.sets[place[found]]
    sizes = index.starts[sets + 1] - index.starts[sets]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    reference = index.members[np.repeat(index.starts[sets], sizes) + within]
    pairs = np.repeat(sketches.owners[found], sizes) << 32 | reference
    pairs, shared = np.unique(pairs, return_counts=True)
    owner, of_owner = np.unique(sketches.owners, return_counts=True)
    hits = pd.DataFrame({"owner": pairs >> 32, "reference": pairs & (2**32 - 1), "shared": shared})
    hits["kmers"] = of_owner[np.searchsorted(owner, hits["owner"])] if len(hits) else hits["shared"]
    order = np.lexsort((hits["reference"], -hits["shared"], hits["owner"]))
    return hits.iloc[order].reset_index(drop=True)
