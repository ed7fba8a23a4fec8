"""What the page draws of a contig: its proviruses, with the reason of the call and the evidence for the borders."""

from pathlib import Path

import pandas as pd

from virnucpro.data.tables import write_table
from virnucpro.report.drawn import draw


def test_a_provirus_has_the_evidence_for_its_borders(tmp_path: Path) -> None:
    (tmp_path / "soil").mkdir()
    for name in ("genes.gff3", "regions.gff3"):
        (tmp_path / "soil" / name).write_text("##gff-version 3\n")
    (tmp_path / "soil.fa").write_text(">c\n" + "ACGT" * 200 + "\n")
    place = {"contig": "c", "topology": "provirus", "virus": "tailed phage", "why": "Two genes say so."}
    evidence = "left: attL 51 bp (E 2e-21), integrase; right: chain only"
    rows = [place | {"start": 1, "end": 400, "border_evidence": evidence}]
    rows.append(place | {"start": 500, "end": 700, "border_evidence": ""})
    write_table(pd.DataFrame(rows), tmp_path / "soil" / "regions.tsv")
    contigs = pd.DataFrame({"sample": "soil", "contig": ["c"], "length": 800}, index=[3])
    drawn = draw(tmp_path, {"soil": tmp_path / "soil.fa"}, contigs)
    assert drawn[3]["proviruses"] == [
        [1, 400, "tailed phage", f"Two genes say so. Borders: {evidence}."],
        [500, 700, "tailed phage", "Two genes say so."],
    ]
