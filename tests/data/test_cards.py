"""model.json and token_budget.json: other content is refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virnucpro.data.cards import read_model_card, read_token_budget
from virnucpro.errors import UserError

CARD = '{"name": "tiny", "sha256": "' + "ab" * 32 + '", "layers": 2, "embed_dim": 32, "heads": 2, '
CARD += '"architecture": "ESM-2", "feed_forward": 128}'


def test_what_fetch_model_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(CARD)
    assert read_model_card(path)["embed_dim"] == 32


@pytest.mark.parametrize("read", [read_model_card, read_token_budget])
@pytest.mark.parametrize("text", ["", "[]", ">a\nMKT\n", "{}", "3", '{"version": 2, "bins": []}', "\x00"])
def test_what_is_something_else_is_one_line(tmp_path: Path, read: Callable[[Path], Any], text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"card\.json: not what the .* stage writes"):
        read(path)
    path.unlink()
    with pytest.raises(UserError, match=r"card\.json: no such file; run the .* stage again"):
        read(path)
