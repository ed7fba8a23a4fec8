"""The tokens of DNABERT-S: byte-pair encoding of DNA, from the tokenizer.json that comes with the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro.data.arrays import Integers
from virnucpro.errors import UserError


class DNABERTTokenizer:
    """Tokenizes DNA as the model's own tokenizer does: [CLS], the tokens of the sequence, [SEP].

    [CLS] and [SEP] are part of the mean, as in VirNucPro.

    Raises:
        UserError: The file is missing, or is not a tokenizer that wraps sequences in [CLS] and [SEP].
    """

    special_tokens = 2
    before = 0
    after = 0

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # loaded here: it takes a tenth of a second, and most runs do not need it

        try:
            self._tokenizer: Any = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; DNABERT-S needs its tokenizer.json beside its weights") from None
        except Exception as error:  # the library raises no subclass
            raise UserError(f"{path}: not a tokenizer ({error}); copy it again from where the model is from") from None
        # The file enables both, for training.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        padding, wrapped = self._tokenizer.token_to_id("[PAD]"), self._tokenizer.encode("A").tokens
        if padding is None or wrapped[0] != "[CLS]" or wrapped[-1] != "[SEP]":
            raise UserError(f"{path}: not the tokenizer of a DNABERT-S, which has [PAD], [CLS] and [SEP]; give another")
        self.padding: int = padding

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[Integers, list[int]]:
        """Tokenize DNA, see `virnucpro.data.collation.Tokenizer`; each unknown letter, e.g. N, is a token [UNK]."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(sequences))]
        lengths = [len(tokens) for tokens in encoded]
        return np.fromiter((token for tokens in encoded for token in tokens), np.int64, sum(lengths)), lengths
