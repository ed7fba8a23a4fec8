"""The number of shards, estimated from the size of a file."""

import pytest

from virnucpro.run.shards import guess_tokens, shards_of_tokens


@pytest.mark.parametrize(
    ("letters", "kind", "shards"),
    [(10, "frames", 1), (5_000, "frames", 1), (50_000, "frames", 10), (50_000, "genes", 15), (50_000, "proteins", 50)],
)
def test_by_size(letters: int, kind: str, shards: int) -> None:
    assert shards_of_tokens(guess_tokens(letters, is_compressed=False, kind=kind), 1_000) == shards


def test_a_compressed_file_holds_more() -> None:
    assert guess_tokens(1_000, is_compressed=True, kind="frames") == pytest.approx(3.6 * 0.2 * 1_000)
