"""Embedding files: written whole, read by number, refused when damaged."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.errors import UserError

IDS = ["a_chunk_1F1", "b é", "c"]
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
DESCRIPTION = EmbeddingDescription(
    encoder="esm2",
    encoder_sha256="ab" * 32,
    embed_dim=4,
    layers=(6,),
    pooling="mean",
    precision="float32",
    proteins="frame",
    chunk_size=500,
    short_chunks=(300, 150),
    max_sequence_length=1022,
    long_proteins="cut",
)


def write(path: Path) -> None:
    with new_embedding_file(path, IDS, DESCRIPTION) as file:
        file["embedding"][...] = ROWS


def test_any_hdf5_reader_sees_ids_rows_and_attributes(tmp_path: Path) -> None:
    write(tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5") as file:
        assert file["id"].asstr()[:].tolist() == IDS
        np.testing.assert_array_equal(file["embedding"][:], ROWS)
        assert file["embedding"].dtype == np.float32
        assert json.loads(file.attrs["description"]) == DESCRIPTION.as_json()
        shown = {"model": "esm2", "model_sha256": "ab" * 32, "layer": 6, "pooling": "mean", "precision": "float32"}
        assert shown.items() <= dict(file.attrs).items()


def test_rows_by_number(tmp_path: Path) -> None:
    write(tmp_path / "e.h5")
    file = EmbeddingFile(tmp_path / "e.h5")
    assert (file.ids, file.description, file.row_shape) == (IDS, DESCRIPTION, (4,))
    assert file.begins.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(file.rows(np.array([2, 0, 2])), ROWS[[2, 0, 2]])


def test_no_rows(tmp_path: Path) -> None:
    with new_embedding_file(tmp_path / "e.h5", [], DESCRIPTION):
        pass
    assert EmbeddingFile(tmp_path / "e.h5").rows(np.array([], int)).shape == (0, 4)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "1.h5")
    write(tmp_path / "2.h5")
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_residues_of_several_layers(tmp_path: Path) -> None:
    residues = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
    of_two = replace(DESCRIPTION, embed_dim=2, layers=(0, 6))
    with new_embedding_file(tmp_path / "e.h5", IDS, of_two, residues=[3, 1, 2], begins=[0, 0, 40]) as file:
        file["embedding"][...] = ROWS.reshape(3, 2, 2)
        file["residue_embedding"][...] = residues
    file = EmbeddingFile(tmp_path / "e.h5")
    assert file.has_residues
    assert file.begins.tolist() == [0, 0, 40]
    assert dict(h5py.File(tmp_path / "e.h5").attrs)["layer"] == "0,6"
    assert [len(file.residues(number)) for number in range(3)] == [3, 1, 2]
    np.testing.assert_array_equal(file.residues(2), residues[4:])


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_embedding_file(tmp_path / "e.h5", IDS, DESCRIPTION):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [3, 2000])
def test_a_disk_with_less_room_than_the_file_takes_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def make() -> int:
        names = [f"protein_{number}" for number in range(count)]
        with new_embedding_file(tmp_path / "e.h5", names, DESCRIPTION, residues=[5] * count):
            pass
        return (tmp_path / "e.h5").stat().st_size

    size = make()
    (tmp_path / "e.h5").unlink()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size - 1))
    with pytest.raises(OSError, match="No space left on device"):
        make()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "e.h5"
    write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="not a whole file of embeddings"):
        EmbeddingFile(path)


HOLD = "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"


def test_a_file_that_is_open_elsewhere_is_not_called_damaged(tmp_path: Path) -> None:
    write(tmp_path / "e.h5")
    command = [sys.executable, "-c", HOLD, tmp_path / "e.h5"]  # a notebook, for example
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=r"e.h5: cannot be read: Resource temporarily unavailable; run again later"):
            EmbeddingFile(tmp_path / "e.h5")
        holder.communicate("")
    EmbeddingFile(tmp_path / "e.h5")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.h5: no such file"):
        EmbeddingFile(tmp_path / "absent.h5")


@pytest.mark.parametrize("ids", [IDS[:2], [*IDS, "d"]])
def test_a_file_with_more_or_fewer_ids_than_rows_is_refused(tmp_path: Path, ids: list[str]) -> None:
    write(tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        del file["id"]
        file.create_dataset("id", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
    with pytest.raises(UserError, match=rf"e\.h5: not a whole file of embeddings \({len(ids)} ids for 3 embeddings\)"):
        EmbeddingFile(tmp_path / "e.h5")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("embedding", ROWS.astype(np.float64), "rows of float64"),
        ("embedding", h5py.SoftLink("/absent"), "object"),
        ("begin", np.zeros((3, 2), np.int64), "6 begins for 3 embeddings"),
        ("begin", np.int64(0), "1 begins for 3 embeddings"),
        ("residue_start", np.array([0, 2, 2]), "3 residue_starts for 3 embeddings"),
        ("residue_start", np.array([0, 2, 9, 4]), "residue_start does not fit"),
        ("residue_start", np.array([-1, 2, 3, 4]), "residue_start does not fit"),
        ("residue_start", np.array([0, 2, 3, 70]), "residue_start does not fit"),
        ("residue_embedding", np.zeros((6, 5), np.float32), r"rows of float32 \(5,\)"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(tmp_path: Path, name: str, content: object, message: str) -> None:
    with new_embedding_file(tmp_path / "e.h5", IDS, DESCRIPTION, [3, 1, 2], [0, 0, 40]):
        pass
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        del file[name]
        file[name] = content
    with pytest.raises(UserError, match=rf"e\.h5: not a whole file of embeddings \(.*{message}"):
        EmbeddingFile(tmp_path / "e.h5")


def test_rows_in_compressed_chunks_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        del file["embedding"]
        file.create_dataset("embedding", data=ROWS, chunks=True, compression="gzip")
    with pytest.raises(UserError, match=r"e\.h5: .*/embedding is not one whole block of the file"):
        EmbeddingFile(tmp_path / "e.h5")


@pytest.mark.parametrize(
    "description", ["[" * 100_000, '"text"', "{}", json.dumps(DESCRIPTION.as_json() | {"layers": [0.5]})]
)
def test_a_description_of_another_form_is_refused(tmp_path: Path, description: str) -> None:
    write(tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        del file.attrs["description"]
        file.attrs.create("description", description[:60_000])
    with pytest.raises(UserError, match=r"e\.h5: not a whole file of embeddings") as caught:
        EmbeddingFile(tmp_path / "e.h5")
    assert "\n" not in str(caught.value)


def test_an_id_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5") as file:
        place = file["id"].id.get_offset()
    content = bytearray((tmp_path / "e.h5").read_bytes())
    content[place + 16 : place + 20] = (2**31 - 1).to_bytes(4, "little")  # the length of the second id
    (tmp_path / "e.h5").write_bytes(content)
    with pytest.raises(UserError, match=r"e\.h5: .*an id of 2,147,483,647 letters"):
        EmbeddingFile(tmp_path / "e.h5")
