"""The shares of viral contigs of samples, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from virnucpro.calling.share import FEWEST

_SOURCES = {
    "estimated": "estimated",
    "given": "given",
    "default": f"the default for fewer than {FEWEST} callable contigs",
}


def describe_shares(shares: Sequence[Mapping[str, Any]]) -> str:
    """Return the share of viral contigs of one sample, or the range of several, and where it comes from.

    The shares have the fields of `virnucpro.calling.share.Share`.

    Examples:
        >>> estimated = {"value": 0.061, "low": 0.04, "high": 0.092, "source": "estimated"}
        >>> describe_shares([estimated])
        '6.1 % of contigs (4.0 to 9.2 %), estimated'
        >>> describe_shares([estimated, estimated | {"value": 0.2}, estimated | {"value": 0.1, "source": "given"}])
        '6.1 to 20.0 % of contigs, estimated (2 samples); 10.0 % of contigs, given (1 sample)'
    """
    texts = []
    for source, words in _SOURCES.items():
        found = sorted((share for share in shares if share["source"] == source), key=lambda share: share["value"])
        if not found:
            continue
        ends = dict.fromkeys(f"{100 * share['value']:.1f}" for share in (found[0], found[-1]))
        text = f"{' to '.join(ends)} % of contigs"
        if len(shares) == 1 and source == "estimated":
            text += " ({:.1f} to {:.1f} %)".format(*(100 * found[0][end] for end in ("low", "high")))
        text += f", {words}"
        if len(shares) > 1:
            text += f" ({len(found):,} sample{'s' if len(found) > 1 else ''})"
        texts.append(text)
    return "; ".join(texts)
