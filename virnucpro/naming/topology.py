"""Topology of contigs: circular by the header, or with direct (DTR) or inverted (ITR) terminal repeats."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from virnucpro.data.records import Record
from virnucpro.proteins.translation import reverse_complement

SHORTEST = 20  # bp of a terminal repeat, as in CheckV
LONGEST = 50_000  # bp of a DTR, limits the search; cyprinid herpesvirus 3 has one of 22 kb
# Lowest DUST score of a repeat of low complexity. 0.06 % of 5,000 random repeats of 20 bp reach it, and 2.5 % at 25 %
# GC. Over 20 bp, tandem repeats of 1, 2 and 3 bp have 1, 0.47 and 0.29, and poly-A with three other bases 0.23 or more.
LOW_COMPLEXITY = 0.1
LONGEST_K = 255  # bp, longest k of MEGAHIT; SPAdes goes to 127
FEWEST_WITH_K = 3  # contigs
LEAST_WITH_K = 0.05  # share of a sample's DTRs, or of its ITRs


def topologies(contigs: Iterable[Record]) -> pd.DataFrame:
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
        of its DTR.

    Examples:
        >>> end, middle = b"TCTCACAGTGTACGGACCTAAAG", b"ATGGCTAACGTTAGTCGAC"
        >>> contigs = [
        ...     Record(b"T7-like", end + middle + end),
        ...     Record(b"adenovirus-like", end + middle + reverse_complement(end)),
        ...     Record(b"plasmid", middle, circular=True),
        ... ]
        >>> topologies(contigs).topology.to_dict()
        {'T7-like': 'DTR', 'adenovirus-like': 'ITR', 'plasmid': 'circular'}
        >>> topologies(contigs).terminal_repeat.tolist()
        [23, 23, <NA>]
    """
    rows = [(contig.name.decode(), contig.circular, *_terminal_repeat(contig)) for contig in contigs]
    table = pd.DataFrame(rows, columns=["contig", "circular", "topology", "terminal_repeat"]).set_index("contig")
    table = table.astype({"circular": bool, "topology": str, "terminal_repeat": "Int64"})
    table["topology"] = table["topology"].mask(_length_is_k(table), "").mask(table["circular"], "circular")
    return table[["topology", "terminal_repeat"]]


def _terminal_repeat(contig: Record) -> tuple[str, int | None]:
    """Return the type (DTR, ITR or empty) and the length of a contig's terminal repeat."""
    direct = _direct(contig.letters)
    inverted = 0 if contig.circular else _inverted(contig.letters)
    if not direct and not inverted:
        return "", None
    return ("DTR", direct) if direct >= inverted else ("ITR", inverted)


def _direct(letters: bytes) -> int:
    """Return the length of the direct terminal repeat, or 0.

    The second copy begins with the contig's first 20 bases, so only their occurrences in the second half are tried.
    """
    longest = min(len(letters) // 2, LONGEST)
    if longest < SHORTEST:
        return 0
    seed, view = letters[:SHORTEST], memoryview(letters)
    start = letters.find(seed, len(letters) - longest)
    while start >= 0 and not letters.startswith(view[start:]):
        start = letters.find(seed, start + 1)
    return 0 if start < 0 or _is_tandem(letters) else _checked(letters[start:])


def _is_tandem(letters: bytes) -> bool:
    """Return whether a contig is a tandem repeat: some prefix of more than half of its length is also a suffix."""
    period = letters.find(letters[: len(letters) // 2 + 1], 1)  # if there is such a prefix, this is the shortest period
    return period > 0 and letters.startswith(memoryview(letters)[period:])


def _inverted(letters: bytes) -> int:
    """Return the length of the inverted terminal repeat, or 0."""
    half = len(letters) // 2
    if half < SHORTEST or letters[:SHORTEST] != reverse_complement(letters[-SHORTEST:]):
        return 0
    pairs = zip(letters[:half], reverse_complement(letters[-half:]), strict=True)
    length = next((i for i, (base, opposite) in enumerate(pairs) if base != opposite), half)
    return _checked(letters[:length]) if 2 * length < len(letters) else 0  # a palindrome


def _checked(repeat: bytes) -> int:
    """Return the length of a repeat, or 0 if it has ambiguous letters or low complexity."""
    return 0 if repeat.translate(None, b"ACGT") or is_simple(repeat) else len(repeat)


def is_simple(letters: bytes) -> bool:
    """Return whether a sequence has low complexity.

    The DUST score as a share of its maximum is the probability that two triplets of the sequence are equal.
    """
    counts = Counter(zip(letters, letters[1:], letters[2:], strict=False))
    equal = sum(count * (count - 1) for count in counts.values())
    return equal >= LOW_COMPLEXITY * counts.total() * (counts.total() - 1)


def _length_is_k(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return whether the length of each terminal repeat counts as an assembler's k."""
    with_length = table.groupby(["topology", "terminal_repeat"])["terminal_repeat"].transform("count")
    with_kind = table.groupby("topology")["terminal_repeat"].transform("count")
    is_shared = (with_length >= FEWEST_WITH_K) & (with_length >= LEAST_WITH_K * with_kind)
    return is_shared & (table["terminal_repeat"] <= LONGEST_K).fillna(False)
