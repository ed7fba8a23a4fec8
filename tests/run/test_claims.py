"""Claims on results: a run refuses to overwrite files of others, except with --force."""

from pathlib import Path

import pytest

from virnucpro.errors import UserError
from virnucpro.run.claims import claim


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "work" / ".snakemake" / "virnucpro" / "results.json"


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a user's")


def test_own_results_are_written_again(tmp_path: Path, memory: Path) -> None:
    path = tmp_path / "soil" / "contigs.tsv"
    claim({"soil": [path]}, memory)
    write(path)
    before = memory.stat().st_mtime_ns
    claim({"soil": [path]}, memory)
    assert memory.stat().st_mtime_ns == before
    assert path.exists()


def test_files_of_others_are_refused_before_anything_is_claimed(tmp_path: Path, memory: Path) -> None:
    ours, theirs = tmp_path / "soil", [tmp_path / "summary.tsv", tmp_path / "report.html"]
    write(*theirs)
    results = {"soil": [ours], "run": theirs}
    for _ in range(2):
        with pytest.raises(UserError, match=rf"^{theirs[0]} and 1 more would be overwritten, .* --force overwrite it$"):
            claim(results, memory)
    assert not memory.exists()
    write(ours)
    with pytest.raises(UserError, match="and 2 more"):
        claim(results, memory)


def test_force_deletes_what_is_in_the_way_and_nothing_else(tmp_path: Path, memory: Path) -> None:
    ours = tmp_path / "gut"
    claim({"gut": [ours]}, memory)
    inner, link, target = tmp_path / "soil" / "x", tmp_path / "link", tmp_path / "target" / "x"
    write(ours, inner, target)
    link.symlink_to(target.parent)
    claim({"gut": [ours], "soil": [inner.parent, link]}, memory, force=True)
    assert not inner.parent.exists()
    assert not link.is_symlink()
    assert target.exists(), "a link is deleted, not what it names"
    assert ours.exists()
    write(inner)
    claim({"soil": [inner.parent]}, memory)


@pytest.mark.parametrize("damage", [b"{", b"7", b"\xff"])
def test_a_damaged_memory_is_a_lost_one(tmp_path: Path, memory: Path, damage: bytes) -> None:
    path = tmp_path / "soil"
    claim({"soil": [path]}, memory)
    write(path)
    memory.write_bytes(damage)
    with pytest.raises(UserError, match="would be overwritten"):
        claim({"soil": [path]}, memory)
    claim({"soil": [path]}, memory, force=True)
    claim({"soil": [path]}, memory)


def test_results_and_memory_are_moved_together(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    memory = Path("work", ".snakemake", "virnucpro", "results.json")
    claim({"../soil": [before / "soil"]}, before / memory)
    write(before / "soil")
    before.rename(after)
    claim({"../soil": [after / "soil"]}, after / memory)
