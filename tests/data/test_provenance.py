"""Records of stages: content decides whether a file is what it was."""

import os
from pathlib import Path

import pytest

from virnucpro.data.provenance import checked_input, file_state, read_provenance, write_provenance
from virnucpro.errors import UserError


def made(folder: Path) -> tuple[Path, Path]:
    """Write an output and its record, and return both."""
    output, record = folder / "below" / "table.tsv", folder / "provenance.json"
    output.parent.mkdir()
    output.write_text("a\tb\n")
    write_provenance(record, "prepare", {"chunk_size": 500}, {"fasta": file_state(output)}, [output], {"contigs": 1})
    return output, record


def test_round_trip(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    found = read_provenance(record, "prepare")
    assert (found.stage, found.settings, found.details) == ("prepare", {"chunk_size": 500}, {"contigs": 1})
    assert found.outputs == {"below/table.tsv": file_state(output)}
    assert checked_input(output, record, "prepare") == file_state(output)


def test_the_same_content_under_another_date_is_the_same(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    state = file_state(output)
    os.utime(output, (1, 1))
    assert state.holds(output)
    checked_input(output, record, "prepare")


def test_another_content_under_the_same_date_and_size_is_another(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    state = file_state(output)
    output.write_text("a\tc\n")
    os.utime(output, ns=(state.mtime_ns, state.mtime_ns))
    assert (output.stat().st_size, output.stat().st_mtime_ns) == (state.size, state.mtime_ns)
    assert not state.holds(output)
    with pytest.raises(UserError, match=r"table\.tsv: not what prepare wrote: damaged or replaced; delete it"):
        checked_input(output, record, "prepare")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    output, record = made(tmp_path)
    state = file_state(output)
    output.unlink()
    assert not state.holds(output)
    with pytest.raises(UserError, match=r"table\.tsv: no such file; run prepare again"):
        checked_input(output, record, "prepare")
    with pytest.raises(UserError, match=r"other\.tsv: not among what prepare wrote"):
        checked_input(output.with_name("other.tsv"), record, "prepare")
    record.unlink()
    with pytest.raises(UserError, match=r"provenance\.json: prepare has not finished; run it again"):
        checked_input(output, record, "prepare")


@pytest.mark.parametrize(
    "text", ["", '["prepare"]', '"prepare"', '{"prepare": null}', '{"prepare": {"inputs": 3, "outputs": {}}}', "\xff"]
)
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "provenance.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"provenance\.json: damaged"):
        read_provenance(tmp_path / "provenance.json", "prepare")


def test_a_field_too_many_is_damage(tmp_path: Path) -> None:
    _, record = made(tmp_path)
    record.write_text(
        record.read_text()
        .replace('"prepare"', '"more": 1, "stage": "prepare"', 2)
        .replace('"more": 1, "stage": ', "", 1)
    )
    with pytest.raises(UserError, match="damaged"):
        read_provenance(record, "prepare")
