"""Digests of input files: computed once, stored, and kept while a file is missing."""

import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest

from virnucpro.errors import UserError
from virnucpro.run.outside import OutsideFiles


class Looker:
    """Looks at a file like repeated starts of a run, and counts how often the file is read."""

    def __init__(self, memory: Path, file: Path) -> None:
        self.memory = memory
        self.file = file
        self.reads = 0

    def look(self) -> OutsideFiles:
        files = OutsideFiles(self.memory)
        files.look_at(self.file, self.count)
        files.save()
        return files

    def count(self) -> None:
        self.reads += 1


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    (tmp_path / "soil.fna").write_text(">a\nACGT\n")
    return Looker(tmp_path / "memory" / "digests.json", tmp_path / "soil.fna")


def test_a_file_is_read_once(looker: Looker) -> None:
    files = looker.look()
    assert files.sha256(looker.file) == hashlib.sha256(b">a\nACGT\n").hexdigest()
    assert (files.size(looker.file), files.is_compressed(looker.file)) == (8, False)
    noted = json.loads(looker.memory.read_text())
    noted[str(looker.file)][1] = "remembered"
    looker.memory.write_text(json.dumps(noted))
    assert looker.look().sha256(looker.file) == "remembered"
    assert looker.reads == 1


def test_a_changed_file_is_read_again(looker: Looker) -> None:
    before = looker.look().sha256(looker.file)
    times = looker.file.stat()
    looker.file.write_bytes(gzip.compress(b"x")[:8])  # of the same size and, below, of the same date
    os.utime(looker.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    files = looker.look()
    assert files.sha256(looker.file) != before
    assert files.is_compressed(looker.file)
    assert looker.reads == 2


def test_a_file_that_is_away_keeps_its_digest(looker: Looker) -> None:
    before = looker.look().sha256(looker.file)
    looker.file.unlink()
    assert looker.look().sha256(looker.file) == before
    missing = looker.file.with_name("other")
    files = OutsideFiles(looker.memory)
    files.look_at(missing)
    assert (files.sha256(missing), files.size(missing)) == ("missing", 0)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b"7", b'{"/x": 3}', b"\xff", b'{"/x": [[1, 2, 3]]}', b'{"/x": {"a": 1}}']
)
def test_a_damaged_memory_costs_time_only(looker: Looker, damage: bytes) -> None:
    before = looker.look().sha256(looker.file)
    looker.memory.write_bytes(damage.replace(b"/x", str(looker.file).encode()))
    assert looker.look().sha256(looker.file) == before
    assert looker.reads == 2
    assert looker.look().sha256(looker.file) == before
    assert looker.reads == 2


def test_a_file_that_is_refused_is_not_remembered(looker: Looker) -> None:
    def refuse() -> None:
        raise UserError("FASTQ")

    files = OutsideFiles(looker.memory)
    with pytest.raises(UserError, match="FASTQ"):
        files.look_at(looker.file, refuse)
    files.save()
    assert looker.look().sha256(looker.file) != "missing"
    assert looker.reads == 1


def test_a_path_that_cannot_be_looked_at(looker: Looker) -> None:
    with pytest.raises(UserError, match=r"soil.fna/x: cannot be read: Not a directory$"):
        OutsideFiles(looker.memory).look_at(looker.file / "x")
