"""Topology of contigs: circular by the header, or with direct (DTR) or inverted (ITR) terminal repeats."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from virnucpro.data.records import Record
from virnucpro.data.repeats import SHORTEST, direct_terminal_repeat, length_if_complex
from virnucpro.proteins.translation import reverse_complement

LONGEST_K = 255  # bp, longest k of MEGAHIT; SPAdes goes to 127
FEWEST_WITH_K = 3  # contigs
LEAST_WITH_K = 0.05  # share of a sample's DTRs, or of its ITRs


class ContigEnds(NamedTuple):
    """ContigEnds of a contig: the type (DTR, ITR or empty) and the length of its terminal repeat."""

    contig: str
    circular: bool
    topology: str
    terminal_repeat: int | None


def ends_of(contig: Record) -> ContigEnds:
    """Return the ends of a contig; `topologies` describes the repeats."""
    direct = contig.repeat if contig.circular else direct_terminal_repeat(contig.letters)
    inverted = 0 if contig.circular else _inverted(contig.letters)
    repeat = ("DTR", direct) if direct >= inverted else ("ITR", inverted)
    return ContigEnds(contig.name.decode(), contig.circular, *(repeat if repeat[1] else ("", None)))


def topologies(ends: Iterable[ContigEnds]) -> pd.DataFrame:
    """Return the topology of a sample's contigs and the length of their terminal repeats.

    A direct terminal repeat (DTR) is the longest prefix of a contig that is also a suffix. An inverted terminal repeat
    (ITR) is the longest prefix that is also the reverse complement of a suffix. Both have 20 bp or more, only the
    letters ACGT, and no low complexity. A contig that is a tandem repeat or a palindrome from end to end has neither.
    If a contig has both, the longer one counts.

    A de Bruijn assembler such as MEGAHIT or SPAdes cuts a cycle and writes the same k bases at both ends. A length
    of 255 bp or less counts as k if three or more contigs, and 5 % of the sample's DTRs (or ITRs), share it. The
    topology is then empty, but the length is kept. Such a contig can still be a whole genome.

    Returns:
        One row per contig, in the order of the input, with its name as index. `topology` is `circular` if the header
        says so, else `DTR`, `ITR` or empty. `terminal_repeat` is the length in bp, or missing; for a circular contig,
        of the DTR that was cut from its end.

    Examples:
        >>> end, middle = b"TCTCACAGTGTACGGACCTAAAG", b"ATGGCTAACGTTAGTCGAC"
        >>> contigs = [
        ...     Record(b"T7-like", end + middle + end),
        ...     Record(b"adenovirus-like", end + middle + reverse_complement(end)),
        ...     Record(b"plasmid", middle, circular=True),
        ... ]
        >>> topologies(map(ends_of, contigs)).topology.to_dict()
        {'T7-like': 'DTR', 'adenovirus-like': 'ITR', 'plasmid': 'circular'}
        >>> topologies(map(ends_of, contigs)).terminal_repeat.tolist()
        [23, 23, <NA>]
    """
    table = pd.DataFrame(list(ends), columns=ContigEnds._fields).set_index("contig")
    table = table.astype({"circular": bool, "topology": str, "terminal_repeat": "Int64"})
    table["topology"] = table["topology"].mask(_length_is_k(table), "").mask(table["circular"], "circular")
    return table[["topology", "terminal_repeat"]]


def _inverted(letters: bytes) -> int:
    """Return the length of the inverted terminal repeat, or 0."""
    half = len(letters) // 2
    if half < SHORTEST or letters[:SHORTEST] != reverse_complement(letters[-SHORTEST:]):
        return 0
    pairs = zip(letters[:half], reverse_complement(letters[-half:]), strict=True)
    length = next((i for i, (base, opposite) in enumerate(pairs) if base != opposite), half)
    return length_if_complex(letters[:length]) if 2 * length < len(letters) else 0  # a palindrome


def _length_is_k(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return whether the length of each terminal repeat counts as an assembler's k."""
    with_length = table.groupby(["topology", "terminal_repeat"])["terminal_repeat"].transform("count")
    with_kind = table.groupby("topology")["terminal_repeat"].transform("count")
    is_shared = (with_length >= FEWEST_WITH_K) & (with_length >= LEAST_WITH_K * with_kind)
    return is_shared & (table["terminal_repeat"] <= LONGEST_K).fillna(False)
