"""The screen: windows, genes that are clearly cellular, and the one that ships."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.pipeline.test_call import random_classifier
from virnucpro.calling.classifier import Classifier, load_classifier
from virnucpro.calling.evidence import EVIDENCE, describe_groups, evidence_of_contigs
from virnucpro.calling.requirements import DEFAULT, screen_beside
from virnucpro.calling.screen import CELLULAR_TO, WINDOW, cellular_genes, load_screen, screen_genes, windows_of
from virnucpro.data.fasta import read_fasta
from virnucpro.errors import UserError
from virnucpro.pipeline.prepare import prepare_genes
from virnucpro.proteins.composition import AMINO_ACIDS, CLASSES, WIDTH, composition
from virnucpro.proteins.table import read_proteins

DEMO = Path(__file__).parents[2] / "config" / "demo.fna.gz"
SIZES = {"a": 1, "b": WINDOW, "c": WINDOW + 1, "round": WINDOW + 2, "small round": 3, "d": 3 * WINDOW}


def naive_windows(name: str, genes: int) -> list[list[int]]:
    """Return the windows of a contig as lists of its genes."""
    if genes <= WINDOW:
        return [list(range(genes))]
    starts = genes if "round" in name else genes - WINDOW + 1
    return [[(start + place) % genes for place in range(WINDOW)] for start in range(starts)]


def made_genes() -> tuple[pd.DataFrame, "pd.Series[int]"]:
    """Return a table of genes, and the lengths of contigs."""
    rng = np.random.default_rng(0)
    rows = [
        {"contig": name, "start": 1000 * number, "end": 1000 * number + 900, "strand": "+-"[rng.integers(2)]}
        for name, genes in SIZES.items()
        for number in range(genes)
    ]
    table = pd.DataFrame(rows).assign(chunk=0, genetic_code=11, group=range(len(rows)))
    table["residues"] = rng.integers(30, 300, len(rows))
    return table, pd.Series({name: 1000 * genes + 50 for name, genes in SIZES.items()})


def test_windows_are_those_of_neighboring_genes() -> None:
    genes, _ = made_genes()
    rows, window = windows_of(genes["contig"], ["round", "small round"])
    first = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]).tolist(), strict=False))
    expected = [
        [first[name] + gene for gene in one] for name, count in SIZES.items() for one in naive_windows(name, count)
    ]
    assert [rows[window == number].tolist() for number in range(window[-1] + 1)] == expected


def test_a_gene_is_cellular_if_all_its_windows_are(tmp_path: Path) -> None:
    genes, lengths = made_genes()
    screen = load_classifier(random_classifier(tmp_path / "c.safetensors"))
    screen = replace(screen, contig_mean=np.zeros(5, np.float32), contig_weight=np.eye(5, dtype=np.float32)[0])
    log_odds = np.random.default_rng(1).normal(-0.7, 1, len(genes))
    expected = np.ones(len(genes), bool)
    for name, count in SIZES.items():
        rows = np.flatnonzero(genes["contig"] == name)
        for one in naive_windows(name, count):
            of = genes.iloc[rows[one]].assign(contig="w")
            whole = lengths[name] if count <= WINDOW else (of["end"].iloc[-1] - of["start"].iloc[0]) % lengths[name]
            evidence = evidence_of_contigs(describe_groups(of), log_odds[rows[one]], pd.Series({"w": whole}), 40)
            if screen.contig_log_odds(evidence[EVIDENCE].to_numpy())[0] > CELLULAR_TO:
                expected[rows[one]] = False
    assert 0 < expected.sum() < len(genes), "the test is of both"
    found = cellular_genes(screen, genes, log_odds, lengths, ["round", "small round"])
    assert found.tolist() == expected.tolist()


def test_composition_counts_words() -> None:
    protein = b"MACDXWWAC"
    squares = composition([b"A", protein])[1].astype(np.float64) ** 2
    letters = protein.decode()
    known = [one for one in letters if one in AMINO_ACIDS]
    assert squares[:20] == pytest.approx([known.count(one) / len(known) for one in AMINO_ACIDS])
    pairs = [letters[at : at + 2] for at in range(8) if "X" not in letters[at : at + 2]]
    two = [pairs.count(one + other) / len(pairs) for one in AMINO_ACIDS for other in AMINO_ACIDS]
    assert squares[20:420] == pytest.approx(two)
    reduced = "".join(next((str(chr(97 + n)) for n, of in enumerate(CLASSES) if one in of), "-") for one in letters)
    triples = [reduced[at : at + 3] for at in range(7) if "-" not in reduced[at : at + 3]]
    alphabet = [chr(97 + n) for n in range(12)]
    three = [triples.count(a + b + c) / len(triples) for a in alphabet for b in alphabet for c in alphabet]
    assert squares[420:] == pytest.approx(three)
    assert composition([]).shape == (0, WIDTH)


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> "pd.DataFrame":
    """Genes of the demo, of lambda within a chromosome, and of this on a circle: `embedded` says which are."""
    folder = tmp_path_factory.mktemp("screened")
    records = dict(read_fasta(DEMO))
    phage, host = records["lambda_NC_001416.1"], records["MG1655_seq24"]
    inside = host[:39_000] + phage + host[39_000:]
    turned = inside[60_000:] + inside[:60_000]
    records |= {"inside": inside, "turned circular=true": turned}
    (folder / "x.fna").write_text("".join(f">{name}\n{letters}\n" for name, letters in records.items()))
    prepare_genes(folder / "x.fna", folder / "prepared")
    genes = read_proteins(folder / "prepared")
    found = screen_genes(load_screen(screen_beside(DEFAULT)), genes, folder / "prepared")
    assert (found < 6).all()
    return genes.assign(embedded=~genes["protein"].isin(found.index))


def test_phages_are_embedded_and_most_of_a_chromosome_is_not(screened: pd.DataFrame) -> None:
    embedded = screened.groupby("contig")["embedded"].mean()
    assert embedded["lambda_NC_001416.1"] == embedded["T7_NC_001604.1"] == 1
    assert screened.loc[screened["contig"].str.startswith("MG1655"), "embedded"].mean() < 0.5


def test_a_provirus_in_a_chromosome_is_embedded(screened: pd.DataFrame) -> None:
    genes = screened[screened["contig"] == "inside"]
    inside = genes["start"].between(39_000, 39_000 + 48_502)
    assert genes.loc[inside, "embedded"].all() and not genes.loc[~inside, "embedded"].all()


def test_a_provirus_across_the_origin_of_a_circle_is_embedded(screened: pd.DataFrame) -> None:
    genes = screened[screened["contig"] == "turned"]
    length = 78_605 + 48_502
    place = (genes["start"] + 60_000) % length
    inside = place.between(39_000, 39_000 + 48_502)
    assert genes.loc[inside, "embedded"].all() and not genes.loc[~inside, "embedded"].all()


def test_a_file_that_is_no_screen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"c\.safetensors: not a screen of this version; .* set screen to none"):
        load_screen(random_classifier(tmp_path / "c.safetensors"))
    assert isinstance(load_screen(screen_beside(DEFAULT)), Classifier)
