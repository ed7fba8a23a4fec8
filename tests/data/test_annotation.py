"""Files of genes: how much of them is read. tests/proteins/test_own_genes.py has their content."""

from pathlib import Path

import pytest

from virnucpro.data.annotation import BEGINNING, read_cds

CDS = "c1\tany\tCDS\t1\t9\t.\t+\t0\tID={}\n"
GENBANK = """LOCUS       c1                 9 bp    DNA     linear   PHG 01-JAN-2000
FEATURES             Location/Qualifiers
     CDS             1..9
ORIGIN
        1 atgaaataa
//
"""


@pytest.mark.parametrize(("beginning", "counts"), [(True, [1, 0]), (False, [2, 1])])
def test_the_beginning_of_a_file_is_a_thousand_lines(tmp_path: Path, beginning: bool, counts: list[int]) -> None:
    gff3, genbank = tmp_path / "a.gff", tmp_path / "a.gbk"
    gff3.write_text("#\n" * (BEGINNING - 1) + CDS.format("x") + CDS.format("y"))
    genbank.write_text(GENBANK)
    assert [len(list(read_cds(path, beginning))) for path in (gff3, genbank)] == counts
