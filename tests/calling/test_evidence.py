"""Groups of linked frames, and evidence of contigs from the longest group of every chunk."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from virnucpro.calling.evidence import describe_groups, evidence_of_contigs, group_means
from virnucpro.data.fasta import read_fasta
from virnucpro.pipeline.prepare import prepare_frames, prepare_genes
from virnucpro.proteins.table import read_proteins

CODONS = [a + b + c for a, b, c in product("ACGT", repeat=3) if a + b + c not in ("TAA", "TAG", "TGA")]


@pytest.fixture
def frames(tmp_path: Path) -> pd.DataFrame:
    """Frames of three contigs: empty, random letters, and one open reading frame on the reverse strand."""
    rng = random.Random(0)
    gene = "".join(rng.choices(CODONS, k=700))
    back = gene.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    noise = "".join(rng.choices("ACGT", weights=[1, 2, 2, 1], k=12_000))
    fasta = tmp_path / "contigs.fna"
    fasta.write_text(f">none\n\n>gene\n{back}\n>noise\n{noise}\n")
    prepare_frames(fasta, tmp_path / "prepared", chunk_size=100, short_chunks=[50])
    return describe_groups(read_proteins(tmp_path / "prepared"))


def test_a_gene_is_one_group(frames: pd.DataFrame) -> None:
    longest = frames[frames["contig"] == "gene"].groupby("group").agg({"chunk": list, "residues": "sum"})
    longest = longest.loc[longest["residues"].idxmax()]
    assert longest["chunk"] == list(range(1, 22))


def test_groups_are_chains_of_frames_in_one_phase(frames: pd.DataFrame) -> None:
    rows = frames.to_dict("records")
    assert len(rows) > 150
    for one, other in product(rows, rows):
        number, following = (row["chunk"] for row in (one, other))
        same_phase = one["strand"] == other["strand"] and (one["start"] - other["start"]) % 3 == 0
        if one["strand"] == "-":
            same_phase = one["strand"] == other["strand"] and (one["end"] - other["end"]) % 3 == 0
        if one["contig"] == other["contig"] and following == number + 1:
            assert (one["group"] == other["group"]) == same_phase
        elif one["contig"] != other["contig"] or not same_phase:
            assert one["group"] != other["group"]
    for row in rows:
        mates = [mate for mate in rows if (mate["contig"], mate["chunk"]) == (row["contig"], row["chunk"])]
        of_group = sum(mate["residues"] for mate in rows if mate["group"] == row["group"])
        assert row["group_residues"] == of_group
        assert row["counts"] == (of_group == max(mate["group_residues"] for mate in mates))


def test_means_are_over_all_residues_of_a_group(frames: pd.DataFrame) -> None:
    embedding = np.random.default_rng(0).normal(size=(len(frames), 4)).astype(np.float32)
    means = group_means(embedding, frames)
    for group in frames["group"].unique():
        rows = np.flatnonzero(frames["group"] == group)
        expected = np.average(embedding[rows], axis=0, weights=frames["residues"].to_numpy()[rows])
        np.testing.assert_allclose(means[rows], np.tile(expected, (len(rows), 1)), rtol=1e-4, atol=1e-6)


def test_evidence_is_that_of_the_longest_groups(frames: pd.DataFrame) -> None:
    log_odds = np.random.default_rng(1).normal(size=len(frames))
    lengths = pd.Series({"other": 7, "noise": 12_000, "gene": 2100})
    evidence = evidence_of_contigs(frames, log_odds, lengths, 100)
    assert evidence.index.tolist() == ["gene", "noise"]
    for contig, row in evidence.iterrows():
        of_contig = (frames["contig"] == contig).to_numpy()
        longest = of_contig & frames["counts"].to_numpy()
        residues = frames["residues"].to_numpy()
        assert row["sum_by_root"] == pytest.approx(log_odds[longest].mean() * np.sqrt(min(longest.sum(), 100)))
        assert row["mean"] == pytest.approx(np.average(log_odds[longest], weights=residues[longest]))
        strands = np.where(frames["strand"] == "+", 1, -1)[longest]
        assert row["one_strand"] == pytest.approx(abs(strands.mean()))
        assert row["coding"] == pytest.approx(min(1, 3 * residues[longest].sum() / lengths[contig]))
        assert row["log_residues"] == pytest.approx(np.log(residues[longest]).mean())
        assert (row["genes"], row["residues"]) == (of_contig.sum(), residues[of_contig].sum())
        assert longest.sum() < row["genes"]
    longest = (frames["contig"] == "noise") & frames["counts"]
    assert longest.sum() > 100, "more than make it surer"


def test_every_gene_counts(tmp_path: Path) -> None:
    (_, phage), *_ = read_fasta(ROOT / "config" / "demo.fna.gz")
    fasta = tmp_path / "contigs.fna"
    fasta.write_text(f">a\n{phage[:9000]}\n>b\n{phage[20000:30000]}\n")
    prepare_genes(fasta, tmp_path / "prepared")
    genes = describe_groups(read_proteins(tmp_path / "prepared"))
    assert len(genes) > 15
    assert genes["group_residues"].tolist() == genes["residues"].tolist()
    assert genes["counts"].all()
    log_odds = np.random.default_rng(1).normal(size=len(genes))
    evidence = evidence_of_contigs(genes, log_odds, pd.Series({"a": 9000, "b": 10_000}), 40)
    expected = pd.Series(log_odds).groupby(genes["contig"], sort=False).agg(["sum", "size"])
    assert evidence["genes"].tolist() == expected["size"].tolist()
    np.testing.assert_allclose(evidence["sum_by_root"], expected["sum"] / np.sqrt(expected["size"]))


def test_no_frames_are_no_evidence(frames: pd.DataFrame, tmp_path: Path) -> None:
    fasta = tmp_path / "stops.fna"
    fasta.write_text(">stops\n" + "TAATTAGTTAATTAG" * 40 + "\n")
    prepare_frames(fasta, tmp_path / "stops" / "prepared", chunk_size=100, short_chunks=[])
    nothing = describe_groups(read_proteins(tmp_path / "stops" / "prepared"))
    assert nothing.columns.tolist() == frames.columns.tolist()
    assert len(group_means(np.empty((0, 4), np.float32), nothing)) == 0
    assert len(evidence_of_contigs(nothing, np.empty(0), pd.Series({"stops": 600}), 40)) == 0
