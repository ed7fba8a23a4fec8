"""References: written and read again, refused when damaged; the shipped references."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from virnucpro.errors import UserError
from virnucpro.naming import CLASSES, RANKS, heads, references
from virnucpro.naming.kmers import shared_kmers, sketch
from virnucpro.naming.references import (
    COLUMNS,
    RankModel,
    References,
    load_references,
    make_references,
    save_references,
)
from virnucpro.naming.taxonomy import FEATURES, taxa_of_ictv

PROTEINS = [b"MKLVINGKTLKGEITIEAVDAATAEKVFKQYANDNGVDGEWTYDDATKTFTVTE", b"MSTNPKPQRKTKRNTNRRPQDVKFPGGGQIVGGVYLLPRRG" * 2]
OWNERS = np.array([0, 1])
TABLE = pd.DataFrame({"record": ["NC_1", "x;y"], "name": ['Phage "one" é', "NA"], "genus": ["Onevirus", ""]})
RANK_MODEL = RankModel(np.arange(28.0).reshape(7, 4) / 3, np.arange(21.0).reshape(7, 3) / 7)


def made(ranks: RankModel | None = None) -> References:
    plain = make_references(sketch(PROTEINS, OWNERS), TABLE)
    return References(plain.index, plain.table, ranks)


@pytest.mark.parametrize("ranks", [None, RANK_MODEL], ids=["of a user", "with a model of ranks"])
def test_what_is_written_is_read_again(tmp_path: Path, ranks: RankModel | None) -> None:
    path = tmp_path / "r.npz"
    written = made(ranks)
    save_references(written, path)
    read = load_references(path)
    for name, part in written.index._asdict().items():
        np.testing.assert_array_equal(getattr(read.index, name), part)
        assert getattr(read.index, name).dtype == part.dtype
    pd.testing.assert_frame_equal(read.table, written.table, check_dtype=False)
    assert read.table.columns.tolist() == COLUMNS
    assert read.table["name"].tolist() == ['Phage "one" é', "NA"]
    assert (read.ranks is None) == (ranks is None)
    if ranks and read.ranks:
        for of, again in zip(vars(ranks).values(), vars(read.ranks).values(), strict=True):
            np.testing.assert_array_equal(of, again)
    save_references(read, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "again.npz", path]


def test_no_kmer_at_all(tmp_path: Path) -> None:
    save_references(make_references(sketch([b"MK"], np.array([0])), TABLE[:1]), tmp_path / "r.npz")
    read = load_references(tmp_path / "r.npz")
    assert [len(part) for part in read.index] == [0, 0, 1, 0]
    assert shared_kmers(sketch(PROTEINS, OWNERS), read.index).empty


class Bomb:
    """Object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def refused(path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_references(path)
    assert str(caught.value).startswith(f"{path}: not references written by virnucpro (")
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path, bombed = tmp_path / "r.npz", tmp_path / "bombed"
    save_references(made(), path)
    with np.load(path) as whole:
        arrays = dict(whole)
    for name in arrays:
        np.savez_compressed(path, **(arrays | {name: np.array([Bomb(bombed)], object)}))
        refused(path)
    path.write_bytes(pickle.dumps(Bomb(bombed)))
    refused(path)
    assert not bombed.exists()
    pickle.loads(path.read_bytes())
    assert bombed.exists(), "the pickle does what it says"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    save_references(made(RANK_MODEL), path)
    whole = path.read_bytes()
    refused(tmp_path / "absent.npz")
    for size in (0, 1, 30, 200, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path)
    path.write_bytes(b">a\nACGT\n")
    refused(path)
    np.savez(path, gaps=np.zeros((4, 1), np.uint8))
    refused(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    refused(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("table", np.frombuffer(b'record\tname\n"a\n', np.uint8)),
        ("table", np.frombuffer(b"record\tname\na\tb\tc\td\n", np.uint8)),
        ("table", np.frombuffer(b"", np.uint8)),
        ("sets", np.full((4, 9), 200, np.uint8)),
        ("members", np.ones((4, 2), np.uint8)),
        ("sizes", np.full((4, 2), 100, np.uint8)),
        ("gaps", np.zeros((4, 1), np.uint8)),
        ("gaps", np.zeros((0, 4), np.uint8)),
        ("weights", np.zeros((2, 4))),
        ("limits", np.zeros(21)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, name: str, array: npt.NDArray[Any]) -> None:
    path = tmp_path / "r.npz"
    save_references(made(RANK_MODEL), path)
    with np.load(path) as whole:
        arrays = dict(whole)
    np.savez_compressed(path, **(arrays | {name: array}))
    refused(path)


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    save_references(made(RANK_MODEL), path)
    whole = path.read_bytes()
    with np.load(path) as arrays:
        assert "table" in arrays
    place = whole.index(b"table.npy") + 60
    for offset in range(place, place + 40):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x55]) + whole[offset + 1 :])
        refused(path)


def test_those_that_ship() -> None:
    known = load_references(references.DEFAULT)
    kmers, sets, starts, members = known.index
    assert (np.diff(kmers.astype(np.int64)) > 0).all()
    assert (np.diff(starts) > 0).all()
    assert sets.max() == len(starts) - 2
    assert (starts[0], starts[-1]) == (0, len(members))
    assert members.max() < len(known.table)
    assert set(COLUMNS) <= set(known.table.columns)
    assert known.table["record"].is_unique
    assert (known.table["name"] != "").all()
    assert known.ranks
    assert known.ranks.weights.shape == (len(RANKS), len(FEATURES) + 1)
    assert known.ranks.limits.shape == (len(RANKS), len(CLASSES))
    assert (known.ranks.weights[:, :2] > 0).mean() > 0.5, "more shared k-mers speak for a taxon"
    taxa = {(rank, taxon) for rank in RANKS for taxon in set(known.table[rank]) - {""}}
    assert taxa <= set(taxa_of_ictv().index)
    assert len(taxa) > 500


def test_what_ships_is_small() -> None:
    paths = [references.DEFAULT, heads.DEFAULT, references.DEFAULT.with_name("ictv.tsv.gz")]
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) < 10e6
    assert sum(sizes) < 25e6
