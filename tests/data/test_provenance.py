"""Records of stages: a file is accepted if its content is as written."""

import os
from pathlib import Path

import h5py
import pytest

from virnucpro.data.files import file_digest
from virnucpro.data.provenance import begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.errors import UserError


def made(folder: Path) -> tuple[Path, Path]:
    """Write an output and its record, and return both."""
    output, record = folder / "below" / "table.tsv", folder / "prepare.json"
    output.parent.mkdir()
    output.write_text("a\tb\n")
    inputs = {"fasta": file_digest(output)}
    write_provenance(record, "prepare", {"chunk_size": 500}, inputs, [output], {"contigs": 1}, key="ab12")
    return output, record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    found = read_provenance(record, "prepare")
    assert (found.stage, found.settings, found.details) == ("prepare", {"chunk_size": 500}, {"contigs": 1})
    assert (found.inputs, found.key) == ({"fasta": file_digest(output)}, "ab12")
    assert found.outputs == {"table.tsv": file_digest(output)}
    assert checked_input(output, record, "prepare") == file_digest(output)


def test_the_same_content_under_another_date_is_the_same(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    os.utime(output, (1, 1))
    checked_input(output, record, "prepare")


def test_another_content_under_the_same_date_and_size_is_another(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    before = output.stat()
    output.write_text("a\tc\n")
    os.utime(output, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert (output.stat().st_size, output.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(UserError, match=r"table\.tsv: not what prepare wrote: damaged or replaced; delete it"):
        checked_input(output, record, "prepare")


def test_a_file_of_hdf5_that_a_notebook_has_open_is_not_to_be_deleted(tmp_path: Path) -> None:
    output, record = tmp_path / "embeddings.h5", tmp_path / "merge.json"
    with h5py.File(output, "w") as file:
        file["embedding"] = [1.0]
    write_provenance(record, "merge", {}, {}, [output])
    with h5py.File(output, "a"), pytest.raises(UserError, match=r"replaced; close it in other programs, or delete it"):
        checked_input(output, record, "merge")
    checked_input(output, record, "merge")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    output.unlink()
    with pytest.raises(UserError, match=r"table\.tsv: no such file; run prepare again"):
        checked_input(output, record, "prepare")
    with pytest.raises(UserError, match=r"other\.tsv: prepare did not write it, by .*prepare\.json; run prepare again"):
        checked_input(output.with_name("other.tsv"), record, "prepare")
    record.unlink()
    with pytest.raises(UserError, match=r"prepare\.json: no such file; run prepare again"):
        checked_input(output, record, "prepare")


@pytest.mark.parametrize(
    "text", ["", "3", '["prepare"]', '"prepare"', "null", "{}", '{"sha256": "a"}', "\xff", "[" * 100_000]
)
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    record = tmp_path / "prepare.json"
    record.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"^\S+prepare\.json: damaged .*; delete it and run again$"):
        read_provenance(record, "prepare")


@pytest.mark.parametrize(
    ("old", "new"),
    [('"contigs": 1', '"contigs": 2'), ('"stage"', '"more": 1, "stage"'), ('"key": "ab12"', '"key": "ab13"')],
)
def test_a_change_by_hand_is_damage(tmp_path: Path, old: str, new: str) -> None:
    _, record = made(tmp_path)
    text = record.read_text()
    assert old in text
    record.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=r"prepare\.json: damaged"):
        read_provenance(record, "prepare")


def test_the_record_of_another_stage_is_damage(tmp_path: Path) -> None:
    _, record = made(tmp_path)
    with pytest.raises(UserError, match="damaged"):
        read_provenance(record, "merge")


def test_who_begins_to_write_has_no_record_and_no_leftovers(tmp_path: Path) -> None:
    """A job deletes only leftovers of files that it writes: another job may be writing beside it."""
    output, record = made(tmp_path)
    for path in (output, output.with_name("other.tsv")):
        path.with_name(f".{path.name}.virnucpro-x1y2").mkdir()
    begin_writing(record, [output])
    assert not record.exists()
    assert {path.name for path in output.parent.iterdir()} == {"table.tsv", ".other.tsv.virnucpro-x1y2"}
