"""Borders of proviruses in made contigs: integrases, attachment sites, tRNA genes, ends of contigs and circles."""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.test_embeddings import DESCRIPTION
from tests.naming.test_heads import DESCRIBED, random_heads
from virnucpro.calling.regions import Region, find_regions, genes_within
from virnucpro.data.arrays import Floats, Integers, Rows
from virnucpro.data.records import Record
from virnucpro.naming.borders import border_refiner, find_integrases, rna_genes
from virnucpro.naming.sample import ends_and_borders
from virnucpro.proteins.translation import reverse_complement

GENE, STEP = 900, 1000  # bases of a gene, and from start to start
SITE = "GGTTCGAATCCTGCTAGCCACTTGATTACGAGC"
PHE = "GCCCGGATAGCTCAGTCGGTAGAGCAGGGGATTGAAAATCCCCGTGTCCTTGGTTCGATTCCGAGTCCGGGCACCA"  # tRNA of E. coli
HOST, VIRUS, UNCLEAR = -4.0, 4.0, -0.6


class Made:
    """A contig of genes from end to end: the log-odds of its runs of genes, and what is put in between.

    Args:
        runs: Log-odds and number of genes.
        inserted: Letters by their position.
        integrases: Numbers of genes that are integrases.
        turned: Whether the other strand is given.
        origin: Gene at which the circle is opened; None for a linear contig.
    """

    def __init__(
        self,
        runs: Sequence[tuple[float, int]],
        inserted: dict[int, str] | None = None,
        integrases: Sequence[int] = (),
        turned: bool = False,
        origin: int | None = None,
    ) -> None:
        self.log_odds = np.repeat(*map(np.array, zip(*runs, strict=True)))
        count = len(self.log_odds)
        letters = "".join(random.Random(5).choices("ACGT", k=count * STEP))
        for at, text in (inserted or {}).items():
            letters = letters[:at] + text + letters[at + len(text) :]
        starts, strands = np.arange(count) * STEP, np.array(["+"] * count)
        self.integrases = np.isin(np.arange(count), integrases).astype(float)
        if turned:
            letters, starts = reverse_complement(letters.encode()).decode(), (len(letters) - starts - GENE)[::-1]
            strands = np.array(["-"] * count)
            self.log_odds, self.integrases = self.log_odds[::-1], self.integrases[::-1]
        self.circular = origin is not None
        if origin:
            letters = letters[origin * STEP :] + letters[: origin * STEP]
            self.log_odds, self.integrases = (np.roll(one, -origin) for one in (self.log_odds, self.integrases))
        self.letters = letters
        columns = {"contig": "c", "start": starts, "end": starts + GENE, "strand": strands, "kind": "gene"}
        self.genes = pd.DataFrame(columns)

    @property
    def chain(self) -> dict[str, list[Region]]:
        length = len(self.letters)
        calls = {"contig": ["c"], "length": length, "call": "cellular", "genes": len(self.genes), "score": "0"}
        table = self.genes.assign(log_odds=self.log_odds)
        return find_regions(pd.DataFrame(calls), table, circles={"c"} if self.circular else ())

    def refined(self, folder: Path, names: Sequence[str] = ("c",)) -> list[Region]:
        fasta = folder / "c.fa"
        fasta.write_text(f">other\nACGT\n>c{' circular=true' * self.circular}\n{self.letters}\n")
        probabilities: Callable[[Integers], Floats] = self.integrases.__getitem__
        refine = border_refiner(self.genes, self.log_odds, probabilities, names)
        ends, regions = ends_and_borders(fasta, self.chain, refine)
        assert ends.index.tolist() == ["other", "c"]
        found = regions["c"]
        places = self.genes[["start", "end"]].to_numpy()
        for region in found:  # the same genes as in the other files
            assert region.genes == len(genes_within(region, np.arange(len(places)), places, len(self.letters)))
        return found


RUNS = [(HOST, 30), (UNCLEAR, 2), (VIRUS, 20), (UNCLEAR, 2), (HOST, 30)]


def test_without_evidence_the_borders_are_the_chains(tmp_path: Path) -> None:
    made = Made([(HOST, 30), (VIRUS, 20), (HOST, 30)])
    (found,), (chain,) = made.refined(tmp_path), made.chain["c"]
    assert found == chain._replace(borders="left: chain only; right: chain only")
    assert (found.start, found.end) == (30 * STEP, 49 * STEP + GENE)


def test_a_provirus_begins_with_its_integrase(tmp_path: Path) -> None:
    (found,) = Made(RUNS, integrases=[31]).refined(tmp_path)
    assert (found.start, found.end, found.genes) == (31 * STEP, 51 * STEP + GENE, 21)
    assert found.name == "c|provirus_31001_51900"
    assert found.borders == "left: integrase; right: chain only"


def test_a_provirus_lies_between_its_attachment_sites(tmp_path: Path) -> None:
    at = 30 * STEP - 60, 54 * STEP - 50
    made = Made(RUNS, dict.fromkeys(at, SITE), [30])
    (found,) = made.refined(tmp_path)
    assert (found.start, found.end, found.genes) == (at[0], at[1] + len(SITE), 24)
    site = f"{len(SITE)} bp (E "
    left, right = found.borders.split("; ")
    assert left.startswith(f"left: attL {site}") and left.endswith("), integrase")
    assert right.startswith(f"right: attR {site}") and float(right.split("(E ")[1].rstrip(")")) < 1e-10


def test_the_other_strand_has_the_same_proviruses(tmp_path: Path) -> None:
    inserted = {30 * STEP - 60: SITE, 54 * STEP - 50: SITE}
    (one,) = Made(RUNS, inserted, [30]).refined(tmp_path)
    (other,) = Made(RUNS, inserted, [30], turned=True).refined(tmp_path)
    length = STEP * sum(count for _, count in RUNS)
    assert (length - other.end, length - other.start, other.genes) == (one.start, one.end, one.genes)
    assert [word.split(" (E")[0].split(" ", 1)[1] for word in other.borders.split("; ")] == [
        f"attL {len(SITE)} bp",
        f"attR {len(SITE)} bp",
    ]


@pytest.mark.parametrize("origin", [0, 12, 31, 40, 53, 70])
def test_a_circle_has_the_same_proviruses_wherever_it_is_opened(tmp_path: Path, origin: int) -> None:
    at = 30 * STEP - 60, 54 * STEP - 50
    made = Made(RUNS, dict.fromkeys(at, SITE), [30], origin=origin)
    (found,) = made.refined(tmp_path)
    length = len(made.letters)
    assert ((found.start + origin * STEP) % length, found.end - found.start) == (at[0], at[1] + len(SITE) - at[0])
    assert 0 <= found.start < length
    assert found.name == f"c|provirus_{found.start + 1}_{found.end}"


def test_a_provirus_at_the_end_of_a_contig_ends_there(tmp_path: Path) -> None:
    (left,) = Made([(VIRUS, 12), (HOST, 40)]).refined(tmp_path)
    assert (left.start, left.end, left.borders) == (0, 11 * STEP + GENE, "left: contig end; right: chain only")
    repeated = dict.fromkeys((0, 12 * STEP - 50), SITE)  # the contig's end is no attachment site
    assert Made([(VIRUS, 12), (HOST, 40)], repeated).refined(tmp_path) == [left]
    (right,) = Made([(HOST, 40), (VIRUS, 12)], integrases=[45]).refined(tmp_path)
    assert (right.start, right.end, right.borders) == (40 * STEP, 52 * STEP, "left: chain only; right: contig end")


@pytest.mark.parametrize(("integrase", "last"), [(58, 58), (59, 49)])
def test_two_proviruses_side_by_side_share_the_bases_between_them(tmp_path: Path, integrase: int, last: int) -> None:
    """The middle between them lies in gene 59."""
    runs = [(HOST, 30), (VIRUS, 20), (HOST, 4), (UNCLEAR, 8), (HOST, 7), (VIRUS, 20), (HOST, 30)]
    first, second = Made(runs, integrases=[integrase]).refined(tmp_path)
    assert (first.start, first.end) == (30 * STEP, last * STEP + GENE)
    assert (second.start, second.end) == (69 * STEP, 88 * STEP + GENE)


def test_a_refined_provirus_gets_the_name_of_no_contig(tmp_path: Path) -> None:
    (found,) = Made(RUNS, integrases=[31]).refined(tmp_path, ["c", "c|provirus_31001_51900"])
    assert found.name == "c|provirus_31001_51900_2"


def test_viral_contigs_and_regions_of_chunks_stay_as_they_are(tmp_path: Path) -> None:
    made = Made(RUNS, integrases=[31])
    made.genes["kind"] = "frame"
    assert made.refined(tmp_path) == made.chain["c"]
    made.genes["kind"] = "gene"
    viral = [Region("c", 0, 9_000, 9, 0.9, "c")]
    assert border_refiner(made.genes, made.log_odds, np.zeros_like, ["c"])(Record(b"c", b"A" * 9_000), viral) == viral


def test_a_trna_gene_at_a_border_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyaragorn")
    at = 30 * STEP - 90
    made = Made(RUNS, {at: PHE, 54 * STEP - 50: PHE[-40:]}, [30])
    (found,) = made.refined(tmp_path)
    assert found.start == at + len(PHE) - 40
    assert found.borders.startswith("left: attL 40 bp (E ") and ") at tRNA-Phe, integrase; right" in found.borders
    assert rna_genes(made.letters.encode(), at + 300) == []
    monkeypatch.setitem(sys.modules, "pyaragorn", None)
    (without,) = made.refined(tmp_path)
    assert without == found._replace(borders=found.borders.replace(" at tRNA-Phe", ""))


class Embedded:
    """Embeddings of five proteins, of which the third has none."""

    embedded = np.arange(5) != 2

    def embeddings(self, numbers: Integers) -> Rows:
        assert self.embedded[numbers].all()
        return np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)[numbers]


def test_integrases_are_those_of_the_function_head() -> None:
    proteins = pd.DataFrame({"group": range(5), "group_residues": 300})
    described = replace(
        DESCRIBED,
        embedding=replace(DESCRIPTION, embed_dim=4),
        functions=("portal protein", "integrase"),
        function_limits=(0.0, 2.0),
    )
    heads = random_heads(5, described)
    numbers = np.array([1, 2, 4])
    found = find_integrases(proteins, Embedded(), heads)(numbers)  # type: ignore[arg-type]
    assert found[1] == 0 and 0 < found[0] < 1 and 0 < found[2] < 1 and found[0] != found[2]
    others = replace(heads, described=replace(described, functions=("portal protein", "holin")))
    for missing in (None, others):
        assert find_integrases(proteins, Embedded(), missing)(numbers).tolist() == [0, 0, 0]  # type: ignore[arg-type]
