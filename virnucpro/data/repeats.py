"""Direct terminal repeats of sequences, and sequences of low complexity."""

from collections import Counter

SHORTEST = 20  # bp of a terminal repeat, as in CheckV
LONGEST = 50_000  # bp of a direct terminal repeat, limits the search; cyprinid herpesvirus 3 has one of 22 kb
# Lowest DUST score of a repeat of low complexity. 0.06 % of 5,000 random repeats of 20 bp reach it, and 2.5 % at 25 %
# GC. Over 20 bp, tandem repeats of 1, 2 and 3 bp have 1, 0.47 and 0.29, and poly-A with three other bases 0.23 or more.
LOW_COMPLEXITY = 0.1


def direct_terminal_repeat(letters: bytes) -> int:
    """Return the length of the longest prefix that is also a suffix, in bp; 0 if it does not count.

    It counts with 20 bp or more, up to half of the sequence, if it has only the letters ACGT and no low complexity.
    In a tandem repeat from end to end it does not count.

    Examples:
        >>> end = b"TCTCACAGTGTACGGACCTAAAG"
        >>> direct_terminal_repeat(end + b"ATGGCTAACGTTAGTCGAC" + end)
        23
    """
    longest = min(len(letters) // 2, LONGEST)
    if longest < SHORTEST:
        return 0
    # The second copy begins with the first 20 bases, so only their occurrences in the second half are tried.
    seed, view = letters[:SHORTEST], memoryview(letters)
    start = letters.find(seed, len(letters) - longest)
    while start >= 0 and not letters.startswith(view[start:]):
        start = letters.find(seed, start + 1)
    return 0 if start < 0 or _is_tandem(letters) else length_if_complex(letters[start:])


def _is_tandem(letters: bytes) -> bool:
    """Return whether a sequence is a tandem repeat: some prefix of more than half of its length is also a suffix."""
    period = letters.find(letters[: len(letters) // 2 + 1], 1)  # if there is such a prefix, this is the shortest period
    return period > 0 and letters.startswith(memoryview(letters)[period:])


def length_if_complex(repeat: bytes) -> int:
    """Return the length of a repeat, or 0 if it has ambiguous letters or low complexity."""
    return 0 if repeat.translate(None, b"ACGT") or is_simple(repeat) else len(repeat)


def is_simple(letters: bytes) -> bool:
    """Return whether a sequence has low complexity.

    The DUST score as a share of its maximum is the probability that two triplets of the sequence are equal.
    """
    counts = Counter(zip(letters, letters[1:], letters[2:], strict=False))
    equal = sum(count * (count - 1) for count in counts.values())
    return equal >= LOW_COMPLEXITY * counts.total() * (counts.total() - 1)
