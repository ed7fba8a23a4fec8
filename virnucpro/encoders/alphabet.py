"""The tokens of ESM-2 and ESM C: the alphabet of ESM-1b, in which a residue is one token."""

from collections.abc import Sequence

import numpy as np

from virnucpro.data.arrays import Integers
from virnucpro.errors import UserError

BOS, PAD, EOS, UNKNOWN = range(4)
RESIDUES = "LAGVSERTIDPKQNFYMHWCXBUZO.-"  # the tokens from 4 on
VOCABULARY = 4 + len(RESIDUES) + 2  # the last two are <null>, in ESM C |, and <mask>

_REFUSED = 255
_TOKEN = np.full(256, _REFUSED, np.int64)  # by the code of a letter
_TOKEN[list(RESIDUES.encode())] = np.arange(4, 4 + len(RESIDUES))


class ESM2Tokenizer:
    """Tokenizes proteins as fair-esm and the package esm do: BOS, a token for every residue, EOS."""

    padding = PAD
    special_tokens = 2
    before = 1
    after = 1

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[Integers, list[int]]:
        """Tokenize proteins; see `virnucpro.data.collation.Tokenizer`."""
        lengths = [len(sequence) + self.special_tokens for sequence in sequences]
        ends = np.cumsum(lengths)
        # A letter that is not ASCII becomes a question mark, which has no token.
        letters = np.frombuffer("".join(f"?{sequence}?" for sequence in sequences).encode("ascii", "replace"), np.uint8)
        tokens = _TOKEN[letters]
        tokens[ends - lengths] = BOS
        tokens[ends - 1] = EOS
        if _REFUSED in tokens:
            name, letter = next((n, c) for n, p in zip(ids, sequences, strict=True) for c in p if c not in RESIDUES)
            raise UserError(f"{name}: {letter!r} is not in the ESM-2 alphabet ({RESIDUES})")
        return tokens, lengths
