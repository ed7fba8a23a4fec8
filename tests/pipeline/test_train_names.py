"""train-names: from a small training and a few labeled proteins to heads and references that name viruses."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.data.test_embeddings import DESCRIPTION
from tests.records import record_embeddings
from tests.training.test_heads import quick  # noqa: F401
from virnucpro.data.arrays import Integers
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.fasta import read_fasta
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.naming import RANKS
from virnucpro.naming.heads import load_heads
from virnucpro.naming.references import load_references
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.pipeline.train_names import train_names
from virnucpro.proteins.table import read_proteins
from virnucpro.training import functions, labeled, taxa

EMBEDDING = replace(DESCRIPTION, proteins="gene", chunk_size=0, short_chunks=(), embed_dim=3)
_, T7, *BACTERIUM = (sequence for _, sequence in read_fasta(ROOT / "config" / "demo.fna.gz"))
CLASSES = ("Caudoviricetes", "Pisoniviricetes")
CATEGORIES = ("holin", "portal protein")


def mutated(sequence: str, rng: random.Random) -> str:
    """Return a relative of a virus: one base in a hundred is another."""
    return "".join(rng.choice("ACGT") if rng.random() < 0.01 else base for base in sequence)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two classes of 12 viruses, in groups of 4 relatives, and 20 bacteria; embeddings tell the class."""
    folder, rng = tmp_path_factory.mktemp("training"), random.Random(0)
    ancestors = [T7[:6000], T7[20_000:26_000]]
    sequences = {f"v{n}": mutated(ancestors[n % 2], rng) for n in range(24)}
    sequences |= {f"c{n}": BACTERIUM[n % 5][6000 * (n // 5) :][:6000] for n in range(20)}
    sequences["c20"] = T7[:6000]  # a prophage
    (folder / "genomes.fna").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    table = pd.DataFrame({"record": list(sequences), "fragment": [f"fragment_{n}" for n in range(len(sequences))]})
    table["label"] = np.where(table["record"].str.startswith("v"), "viral", "cellular")
    table["group"] = table["record"].mask(table["label"] == "viral", "g" + table.index.astype(str))
    sheet = table.assign(fasta=str(folder / "genomes.fna"), organism="Phage " + table["record"])
    write_table(sheet[["fasta", "record", "label", "group", "organism"]], folder / "training.tsv")
    write_table(table.assign(start=0, end=6000), folder / "fragments.tsv")
    (folder / "fragments.fna").write_text(
        "".join(f">{row.fragment}\n{sequences[str(row.record)]}\n" for row in table.itertuples())
    )
    of_class = [(n + (n % 5 == 0)) % 2 for n in range(24)]  # one in five looks like the other class
    lineage = [
        {"record": f"v{n}", **{rank: f"{rank}{one}" for rank in RANKS}, "class": CLASSES[one], "species": f"s{n}"}
        | {"genus": f"g{one}{n % 3}"}
        for n, one in enumerate(of_class)
    ]
    write_table(pd.DataFrame(lineage), folder / "lineage.tsv")
    prepare_genes(folder / "fragments.fna", folder / "prepared")
    proteins = read_proteins(folder / "prepared")
    of = proteins["contig"].str.removeprefix("fragment_").astype(int).to_numpy()
    which = np.where(of >= 24, 2, of % 2)
    embed(folder / "embeddings.h5", proteins["protein"].tolist(), which)
    record_embeddings(folder)
    (folder / "classifier").mkdir()
    calls = table[["fragment", "label", "group"]].assign(split="train", call=table["label"])
    calls["log_odds"] = np.where(table["label"] == "viral", 2.0, -2.0)
    calls.loc[43, "call"] = "unresolved"
    write_table(calls, folder / "classifier" / "scores.tsv")
    labeled = [f"p{n}" for n in range(80)]
    (folder / "labeled.faa").write_text("".join(f">{name}\n{'MKLVINGKTL' * 8}\n" for name in [*labeled, "unnamed"]))
    labels = pd.DataFrame({"protein": labeled[::-1], "category": [*CATEGORIES] * 40})
    labels["cluster"] = [f"k{n // 4}" for n in range(80)]
    write_table(labels.assign(copies=labeled), folder / "functions.tsv")
    return folder


def embed(path: Path, ids: list[str], which: Integers) -> None:
    rows = np.eye(3)[which] * 6 + np.random.default_rng(0).normal(size=(len(ids), 3))
    with new_embedding_file(path, ids, EMBEDDING) as file:
        file["embedding"][...] = rows


def run(training: Path, output: Path) -> None:
    sheet, proteins, labels, lineage = (
        training / name for name in ("training.tsv", "labeled.faa", "functions.tsv", "lineage.tsv")
    )
    train_names(training, training, sheet, proteins, labels, lineage, output, "absent", "cpu")


@pytest.mark.usefixtures("quick")
def test_heads_and_references_of_a_small_training(
    training: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(labeled, "BLOCK", 20_000)
    for fitted in (functions, taxa):
        monkeypatch.setattr(fitted, "HIDDEN", 16)
    embed(tmp_path / "functions.h5", [*(f"p{n}" for n in range(80)), "unnamed"], np.arange(81) % 2)
    run(training, tmp_path)
    references = load_references(tmp_path / "references.npz")
    assert references.table["record"].tolist() == [f"v{n}" for n in range(24)]
    assert references.table["name"].tolist()[3] == "Phage v3"
    assert references.table["class"].tolist()[:6] == [CLASSES[n] for n in (1, 1, 0, 1, 0, 0)]
    assert references.ranks
    assert "train-names: 24 references with" in caplog.text
    heads = load_heads(tmp_path / "heads.safetensors")
    assert heads.described.embedding == EMBEDDING
    assert heads.described.functions == ("cellular", *CATEGORIES)
    assert [taxon["class"] for taxon in heads.described.taxa] == list(CLASSES)
    proteins = EmbeddingFile(tmp_path / "functions.h5").rows(np.arange(4))
    inputs = np.column_stack([proteins, np.full(4, np.log(80))]).astype(np.float32)
    likely = heads.function.probabilities(inputs, np.ones(4, np.int64)).argmax(axis=1)
    assert [heads.described.functions[one] for one in likely] == [*CATEGORIES[::-1]] * 2, "the table goes backwards"
    measured = read_table(tmp_path / "measured_functions.tsv", "category").set_index("category")["proteins"].to_dict()
    assert measured["holin"] == measured["portal protein"] == 40
    genes = read_proteins(training / "prepared")["contig"].str.removeprefix("fragment_").astype(int)
    clean = genes.between(24, 42).sum()
    assert measured["cellular"] == clean, "neither of the prophage nor of what is not called cellular"
    of_taxa = read_table(tmp_path / "measured_taxa.tsv")
    of = of_taxa.set_index(["held_out", "length", "rank"]).to_dict("index")
    assert of["species", "from 5 kb", "class"]["fragments"] == 24
    assert of["unit", "under 1.5 kb", "class"]["fragments"] == 0


def test_a_label_of_no_protein_is_refused(training: Path, tmp_path: Path) -> None:
    embed(tmp_path / "functions.h5", [f"p{n}" for n in range(79)], np.arange(79) % 2)
    with pytest.raises(UserError, match=r"labeled\.faa: no protein p79, which .*functions\.tsv names; give the FASTA"):
        run(training, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["functions.h5"]
