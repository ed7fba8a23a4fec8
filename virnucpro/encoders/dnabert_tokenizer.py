"""The tokens of DNABERT-S: byte-pair encoding of DNA, from the tokenizer.json that comes with the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from virnucpro.data.arrays import Integers
from virnucpro.errors import UserError


class DNABERTTokenizer:
    """Tokenises DNA as the model's own tokenizer does: [CLS], the tokens of the sequence, [SEP].

    The mean over a sequence takes in these two as VirNucPro does, so that no token counts as special to the pooling.

    Raises:
        UserError: there is no such file, or it is none of a tokenizer that wraps sequences in [CLS] and [SEP].
    """

    special_tokens = 2
    before = 0
    after = 0

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # here: it takes a tenth of a second, and runs without DNA do without

        try:
            self._tokenizer: Any = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; DNABERT-S takes its tokenizer.json beside its weights") from None
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"{path}: not a tokenizer ({error}); copy it again from where the model is from") from None
        # The file switches both on, for training.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        padding, wrapped = self._tokenizer.token_to_id("[PAD]"), self._tokenizer.encode("A").tokens
        if padding is None or wrapped[0] != "[CLS]" or wrapped[-1] != "[SEP]":
            raise UserError(f"{path}: not the tokenizer of a DNABERT-S, which has [PAD], [CLS] and [SEP]; give another")
        self.padding: int = padding

    def __call__(self, ids: Sequence[str], sequences: Sequence[str]) -> tuple[Integers, list[int]]:
        """Tokenise DNA; see `virnucpro.data.collation.Tokenizer`. Unknown letters, as N, are a token each, [UNK]."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(sequences))]
        lengths = [len(tokens) for tokens in encoded]
        return np.fromiter((token for tokens in encoded for token in tokens), np.int64, sum(lengths)), lengths
