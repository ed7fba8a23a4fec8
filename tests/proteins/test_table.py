"""The table of a sample's proteins."""

from io import BytesIO

from virnucpro.proteins.table import ProteinWriter


def test_a_protein_of_a_file_has_no_place_on_a_contig() -> None:
    residues, table = BytesIO(), BytesIO()
    writer = ProteinWriter(residues, table)
    writer.write(b"a", b"MKV", group=0)
    writer.write(b"b", b"M", group=1)
    assert residues.getvalue() == b">a\nMKV\n>b\nM\n"
    assert table.getvalue().decode().splitlines()[1:] == [
        "a\t\t0\t0\t.\tprotein\t0\t3\tno\t0\t0\t3",
        "b\t\t0\t0\t.\tprotein\t0\t1\tno\t1\t0\t10",
    ]
