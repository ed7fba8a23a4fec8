"""The number of shards, from the size of a file."""

import gzip
from pathlib import Path

import pytest

from virnucpro.run.shards import count_shards


@pytest.mark.parametrize(
    ("letters", "kind", "shards"),
    [(10, "frames", 1), (5_000, "frames", 1), (50_000, "frames", 10), (50_000, "genes", 15), (50_000, "proteins", 50)],
)
def test_by_size(tmp_path: Path, letters: int, kind: str, shards: int) -> None:
    path = tmp_path / "a.fa"
    path.write_text("A" * letters)
    assert count_shards(path, kind, 1_000) == shards


def test_a_compressed_file_holds_more(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(gzip.compress(bytes(range(256)) * 100, compresslevel=0))
    assert count_shards(path, "frames", 1_000) == 19  # 25.6 kB, 3.6 bases a byte, 0.2 tokens a base
