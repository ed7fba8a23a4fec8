"""call: input that it refuses, on files of prepare and random embeddings."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from tests.conftest import ROOT
from tests.data.test_embeddings import DESCRIPTION
from tests.records import record_embeddings
from virnucpro.calling import CALL_FILES, calls
from virnucpro.calling.classifier import Classifier, load_classifier, protein_inputs, save_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.requirements import Requirements
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import EmbeddingFile, new_embedding_file
from virnucpro.data.fasta import read_fasta
from virnucpro.data.provenance import read_provenance
from virnucpro.errors import UserError
from virnucpro.pipeline.call import call
from virnucpro.pipeline.prepare import prepare_frames, prepare_genes
from virnucpro.proteins.table import read_proteins

EMBEDDING = replace(DESCRIPTION, embed_dim=4)


def random_classifier(path: Path, embedding: EmbeddingDescription = EMBEDDING) -> Path:
    """Write a classifier of two networks with random weights."""
    random_floats = np.random.default_rng(0).normal
    inputs = EMBEDDING.embed_dim + 1
    shapes = {"mean": inputs, "hidden_bias": (2, 3), "output_weight": (2, 3), "output_bias": 2}
    shapes |= {"contig_mean": 5, "contig_weight": 5, "contig_bias": 1}
    save_classifier(
        Classifier(
            **{name: random_floats(size=shape).astype(np.float32) for name, shape in shapes.items()},
            scale=np.ones(inputs, np.float32),
            hidden_weight=random_floats(size=(2, 3, inputs)).astype(np.float16),
            contig_scale=np.ones(5, np.float32),
            requirements=Requirements(embedding, cellular_to=((400, 0.0),), fewest_residues=50, most_genes=40),
        ),
        path,
    )
    return path


@pytest.fixture
def contigs(rng: random.Random) -> dict[str, str]:
    return {name: "".join(rng.choices("ACG", k=900)) for name in ("a", "b", "c", "d")}


@pytest.fixture
def sample(tmp_path: Path, contigs: dict[str, str], write_fasta: Callable[..., Path]) -> Path:
    """The folder of a sample whose embeddings are random."""
    folder = tmp_path / "sample"
    prepare_frames(write_fasta(contigs), folder / "prepared", 500)
    assert set(read_proteins(folder / "prepared")["contig"]) == set(contigs)
    embed_at_random(folder, EMBEDDING)
    return folder


def embed_at_random(folder: Path, embedding: EmbeddingDescription) -> None:
    proteins = read_proteins(folder / "prepared")["protein"].tolist()
    with new_embedding_file(folder / "embeddings.h5", proteins, embedding) as file:
        file["embedding"][...] = np.random.default_rng(1).normal(size=(len(proteins), embedding.embed_dim))
    record_embeddings(folder)


def results(sample: Path) -> dict[str, bytes]:
    return {name: (sample / name).read_bytes() for name in CALL_FILES}


def test_blocks_of_contigs_make_no_difference(
    sample: Path,
    contigs: dict[str, str],
    tmp_path: Path,
    write_fasta: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classifier = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, sample, classifier)
    whole = results(sample)
    blocks: list[int] = []

    def scored(self: Classifier, inputs: np.ndarray) -> np.ndarray:
        blocks.append(len(inputs))
        return log_odds(self, inputs)

    log_odds = Classifier.protein_log_odds
    monkeypatch.setattr(Classifier, "protein_log_odds", scored)
    monkeypatch.setattr(calls, "BLOCK", 10)
    call(write_fasta(contigs), sample, sample, classifier)
    assert results(sample) == whole
    assert len(blocks) > 2
    assert sum(blocks) == len(read_proteins(sample / "prepared"))


def test_the_score_of_a_protein_is_that_of_its_log_odds(
    sample: Path, contigs: dict[str, str], tmp_path: Path, write_fasta: Callable[..., Path]
) -> None:
    path = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, sample, path)
    frames = describe_groups(read_proteins(sample / "prepared"))
    embeddings = EmbeddingFile(sample / "embeddings.h5").rows(np.arange(len(frames)))
    expected = load_classifier(path).protein_log_odds(protein_inputs(embeddings, frames))
    written = pd.read_csv(sample / "genes.tsv", sep="\t")
    assert written["protein"].tolist() == frames["protein"].tolist()
    np.testing.assert_allclose(written["log_odds"], expected, atol=6e-4)
    np.testing.assert_allclose(written["score"], 1 / (1 + np.exp(-expected)), atol=6e-5)


def test_the_prior_and_the_fdr_decide_and_leave_scores(
    tmp_path: Path, rng: random.Random, write_fasta: Callable[..., Path]
) -> None:
    contigs = {f"k{number}": "".join(rng.choices("ACG", k=300 + 10 * number)) for number in range(100)} | {"empty": ""}
    folder = tmp_path / "another"
    prepare_frames(write_fasta(contigs), folder / "prepared", 500)
    embed_at_random(folder, EMBEDDING)
    path = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), folder, folder, path)
    middle = pd.read_csv(folder / "contigs.tsv", sep="\t").query("length >= 600")["log_odds"].median()
    model = load_classifier(path)  # its log-odds are made moderate, some of either sign
    bias = ((model.contig_bias - middle) / 3).astype(np.float32)
    save_classifier(replace(model, contig_weight=model.contig_weight / 3, contig_bias=bias), path)

    def called(*settings: float | None) -> tuple[pd.DataFrame, dict[str, object]]:
        call(write_fasta(contigs), folder, folder, path, *settings, min_length=600)
        record = read_provenance(folder / "call.json", "call")
        return pd.read_csv(folder / "contigs.tsv", sep="\t", index_col="contig"), record.details["share"]

    even, share = called(None, 0.3)
    assert share["source"] == "estimated"
    moved, given = called(0.9, 0.1)
    assert given == {"value": 0.9, "low": 0.9, "high": 0.9, "source": "given"}
    pd.testing.assert_series_equal(even["score"], moved["score"])
    short = moved.index[moved["length"].between(400, 599)]
    assert set(moved.loc[short, "reason"]) == {"shorter than 600 bases"}
    assert set(moved.loc[moved["length"].between(300, 390), "reason"]) == {"shorter than tested: 400 bases"}
    for table, value, max_fdr in ((even, share["value"], 0.3), (moved, 0.9, 0.1)):
        judged = table[table["length"] >= 600]
        assert table["posterior"].isna().sum() == len(table) - len(judged)
        posterior = expit(judged["log_odds"] + logit(value))
        np.testing.assert_allclose(judged["posterior"], posterior, atol=6e-5)
        fdr = pd.Series([(1 - posterior[posterior >= one]).mean() for one in posterior], judged.index)
        np.testing.assert_allclose(judged["fdr"], fdr, atol=6e-5)
        viral = (fdr <= max_fdr) & (posterior > 0.5)
        assert (judged["call"] == "viral").tolist() == viral.tolist()
        assert (judged["call"] == "cellular").tolist() == (~viral & (judged["log_odds"] <= 0)).tolist()
        assert 3 < viral.sum() < len(judged) - 3


def test_contigs_of_the_same_names_and_other_letters_are_refused(
    sample: Path, contigs: dict[str, str], tmp_path: Path, write_fasta: Callable[..., Path]
) -> None:
    classifier = random_classifier(tmp_path / "c.safetensors")
    call(write_fasta(contigs), sample, sample, classifier)
    written = {path: path.read_bytes() for path in sample.iterdir() if path.is_file()}
    assert len(written[sample / "contigs.tsv"].splitlines()) == 5

    for others in (contigs | {"b": contigs["c"]}, {name: contigs[name] for name in ("a", "c")}):
        with pytest.raises(UserError, match=r"input\.fa: not the file that .*prepared was made from; run the prepare"):
            call(write_fasta(others), sample, sample, classifier)
        assert {path: path.read_bytes() for path in sample.iterdir() if path.is_file()} == written


def test_genes_come_out_with_their_scores(tmp_path: Path, write_fasta: Callable[..., Path]) -> None:
    """In a table, as FASTA and as GFF3; of contigs with odd names, a circle and a contig without genes among them."""
    (_, lambda_), (_, t7), *_ = read_fasta(ROOT / "config" / "demo.fna.gz")
    circle = t7[32_000:] + t7[:32_000]
    contigs = {"circle circular=true": circle, "a;b=c,d&e|é%20": lambda_[:9000], "none": "AC", "empty": ""}
    contigs |= {"orf": "ACGTGGCC" * 12, "gene": lambda_[20_000:22_000]}
    folder = tmp_path / "sample"
    prepare_genes(write_fasta(contigs), folder / "prepared")
    embedding = replace(EMBEDDING, proteins="gene", chunk_size=0, short_chunks=())
    embed_at_random(folder, embedding)
    call(tmp_path / "input.fa", folder, folder, random_classifier(tmp_path / "c.safetensors", embedding))

    proteins, genes = read_proteins(folder / "prepared"), pd.read_csv(folder / "genes.tsv", sep="\t")
    assert {"gene", "orf"} == set(genes["kind"])
    same = ["protein", "contig", "start", "end", "strand", "kind", "genetic_code", "partial"]
    assert genes.columns.tolist() == [*same, "score", "log_odds", "scored_by", "function", "function_score"]
    pd.testing.assert_frame_equal(genes[same].assign(start=genes["start"] - 1), proteins[same])

    of_contigs = pd.read_csv(folder / "contigs.tsv", sep="\t", index_col="contig", keep_default_na=False)
    counts = genes.groupby("contig").size()
    assert of_contigs["genes"].to_dict() == {name.split()[0]: counts.get(name.split()[0], 0) for name in contigs}

    residues = (folder / "prepared" / "proteins.faa").read_text().splitlines()[1::2]
    lines = (folder / "genes.faa").read_text().splitlines()
    assert lines[1::2] == residues
    for header, row in zip(lines[::2], genes.itertuples(), strict=True):
        place = f"{row.contig}:{row.start}-{row.end}({row.strand})"
        assert header == f">{row.protein} {place} score={row.score:.4f}"

    lines = (folder / "genes.gff3").read_text().splitlines()
    assert lines[0] == "##gff-version 3"
    regions = [line.split() for line in lines if line.startswith("##seq")]
    assert [(unquote(name), int(start), int(end)) for _, name, start, end in regions] == [
        (name.split()[0], 1, len(sequence)) for name, sequence in contigs.items() if sequence
    ]
    features = [line.split("\t") for line in lines if not line.startswith("#")]
    assert features.pop(0) == ["circle", "virnucpro", "region", "1", "39937", ".", ".", ".", "Is_circular=true"]
    assert "é%20" not in str(features)
    for (contig, _, kind, start, end, score, strand, phase, attributes), row in zip(
        features, genes.itertuples(), strict=True
    ):
        assert (unquote(contig), int(start), int(end)) == (row.contig, row.start, row.end)
        assert (kind, phase) == {"gene": ("CDS", "0"), "orf": ("ORF", ".")}[row.kind]
        assert (float(score), strand) == (row.score, row.strand)
        values = dict(pair.split("=") for pair in attributes.split(";"))
        assert unquote(values.pop("ID")) == row.protein
        found = {"partial": row.partial, "transl_table": f"{row.genetic_code}", "log_odds": f"{row.log_odds:.3f}"}
        assert values == found | {"scored_by": "encoder"}
    spanning = genes["end"] > genes["contig"].map({name.split()[0]: len(s) for name, s in contigs.items()})
    assert genes.loc[spanning, "contig"].tolist() == ["circle"]


def test_frames_come_out_likewise(
    sample: Path, contigs: dict[str, str], tmp_path: Path, write_fasta: Callable[..., Path]
) -> None:
    call(write_fasta(contigs), sample, sample, random_classifier(tmp_path / "c.safetensors"))
    proteins = read_proteins(sample / "prepared")
    features = [line.split("\t") for line in (sample / "genes.gff3").read_text().splitlines() if line[0] != "#"]
    assert {(source, kind, phase) for _, source, kind, *_, phase, _ in features} == {
        ("virnucpro", "reading_frame", ".")
    }
    assert [(int(start) - 1, int(end)) for _, _, _, start, end, *_ in features] == list(
        zip(proteins["start"], proteins["end"], strict=True)
    )
    assert (sample / "genes.faa").read_text().count(">") == len(proteins)
