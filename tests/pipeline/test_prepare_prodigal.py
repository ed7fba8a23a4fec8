"""Stage prepare over proteins of Prodigal: headers give the contigs and the positions of genes."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pyrodigal_gv
import pytest

from tests.conftest import ROOT
from virnucpro.data.provenance import read_provenance
from virnucpro.data.records import read_contigs
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.pipeline.prepare import prepare_genes, prepare_prodigal
from virnucpro.proteins.prodigal import read_place
from virnucpro.proteins.table import read_proteins

DEMO = ROOT / "config" / "demo.fna.gz"
GENES = [
    ">a_1 # 2 # 650 # 1 # ID=1_1;partial=10;genetic_code=4",
    "MKV",
    ">a_2 # 290 # 600 # -1 # ID=1_2;partial=00;",
    "MK*",
    ">b_c_1 # 1 # 300 # -1 # ID=2_1;partial=01;",
    "MKJ",
]


def test_genes_are_those_of_the_contigs(tmp_path: Path) -> None:
    faa = StringIO()
    for contig in read_contigs(DEMO):
        pyrodigal_gv.ViralGeneFinder(meta=True).find_genes(contig.letters).write_translations(faa, contig.name.decode())
    (tmp_path / "a.faa").write_text(faa.getvalue())
    prepare_prodigal(tmp_path / "a.faa", tmp_path / "proteins" / "prepared")
    prepare_genes(DEMO, tmp_path / "contigs" / "prepared")
    given, found = (read_proteins(tmp_path / kind / "prepared") for kind in ("proteins", "contigs"))
    found = found[found["kind"] == "gene"]
    pd.testing.assert_frame_equal(given, found, check_names=False)
    records = read_table(tmp_path / "proteins" / "prepared" / "records.tsv", "record").set_index("record")
    assert len(records) > 10
    of_contigs = found.groupby("contig", sort=False)
    assert records["length"].to_dict() == of_contigs["end"].max().to_dict()
    assert records["proteins"].to_dict() == of_contigs.size().to_dict()
    assert not records[["circular", "chunks"]].any(axis=None)


def test_genetic_codes_partial_genes_and_replaced_letters(tmp_path: Path) -> None:
    (tmp_path / "a.faa").write_text("\n".join(GENES))
    prepare_prodigal(tmp_path / "a.faa", tmp_path / "out")
    columns = ["protein", "contig", "start", "end", "strand", "kind", "genetic_code", "residues", "partial", "group"]
    assert read_proteins(tmp_path / "out")[columns].to_numpy().tolist() == [
        ["a_1", "a", 1, 650, "+", "gene", 4, 3, "start", 0],
        ["a_2", "a", 289, 600, "-", "gene", 11, 2, "no", 1],
        ["b_c_1", "b_c", 0, 300, "-", "gene", 11, 3, "start", 2],
    ]
    records = read_table(tmp_path / "out" / "records.tsv", "record").drop(columns=["circular", "chunks"])
    assert records.to_numpy().tolist() == [["a", 650, 2, 1], ["b_c", 300, 1, 1]]


def test_a_protein_without_residues_is_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.faa").write_text("\n".join([*GENES, ">d_1 # 5 # 70 # 1 # ID=3_1;partial=00", "*"]))
    prepare_prodigal(tmp_path / "a.faa", tmp_path / "work" / "out")
    assert read_proteins(tmp_path / "work" / "out")["protein"].tolist() == ["a_1", "a_2", "b_c_1"]
    left_out = read_provenance(tmp_path / "work" / "prepare.json", "prepare").details["left_out"]
    assert left_out == [["d_1", "d", 5, 70, "+", "nothing in the record"]]
    assert "record d_1 is empty and is left out" in caplog.text
    assert read_table(tmp_path / "work" / "out" / "records.tsv", "record")["proteins"].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("x", "line 7: x has no header of Prodigal, unlike the first one; give the file as Prodigal wrote it, or "),
        ("b_c_2 # 9 # 3 # 1 # ID=2_2;partial=00", "line 7: b_c_2 has no header of Prodigal"),
        ("a_3 # 700 # 900 # 1 # ID=1_3;partial=00", "line 7: a_3 is not beside its neighbors on the contig; give"),
    ],
)
def test_mixed_files_are_refused(header: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.faa").write_text("\n".join([*GENES, f">{header}", "MKV"]))
    with pytest.raises(UserError, match=message):
        prepare_prodigal(tmp_path / "a.faa", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_genes_in_another_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.faa").write_text("\n".join([*GENES[2:4], *GENES[:2]]))
    with pytest.raises(UserError, match="line 3: a_1 is not beside its neighbors"):
        prepare_prodigal(tmp_path / "a.faa", tmp_path / "out")


@pytest.mark.parametrize("header", ["a_1", "a_1 # 0 # 30 # 1 # ID=1_1;partial=00", "a # 1 # 30 # 1 # partial=00"])
def test_other_headers_are_known(header: str) -> None:
    assert read_place(header) is None
