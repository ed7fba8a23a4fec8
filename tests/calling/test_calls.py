"""Labels of contigs: viral, cellular or unresolved, and the reasons."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.calling.calls import KNOWN_WEIGHT, MOST_KNOWN, decide_contigs, label_contigs, score_sample
from virnucpro.calling.classifier import load_classifier
from virnucpro.calling.evidence import EVIDENCE, describe_groups, evidence_of_contigs
from virnucpro.calling.published import CHUNK_COLUMNS, score_contigs
from virnucpro.calling.requirements import DEFAULT, Requirements
from virnucpro.calling.share import false_discovery_rates

LIMITS = ((500, -3.0), (1500, -2.0), (3000, 0.0))
REQUIREMENTS = Requirements(DESCRIPTION, cellular_to=LIMITS, fewest_residues=50, most_genes=40)
PUBLISHED = replace(REQUIREMENTS, cellular_to=((0, -0.619),), fewest_residues=1, is_published=True)


def table(log_odds: list[float], lengths: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"log_odds": log_odds, "length": lengths}, index=[f"c{n}" for n in range(len(log_odds))])


@given(
    st.lists(st.tuples(st.integers(-80, 80), st.sampled_from([500, 1499, 1500, 2999, 3000, 90_000])), min_size=1),
    st.sampled_from([0.01, 0.1, 0.5, 0.9]),
    st.sampled_from([0.01, 0.05, 0.3]),
)
def test_labels_by_their_definitions(rows: list[tuple[int, int]], prior: float, max_fdr: float) -> None:
    contigs = table([row[0] / 10 for row in rows], [row[1] for row in rows])
    labels, share = label_contigs(REQUIREMENTS, contigs, prior, max_fdr)
    assert share.value == prior
    posterior = expit(contigs["log_odds"].to_numpy() + logit(prior))
    np.testing.assert_allclose(labels["posterior"], posterior)
    np.testing.assert_allclose(labels["fdr"], false_discovery_rates(posterior))
    for log_odds, length, _, fdr, call, reason in contigs.join(labels).itertuples(index=False):
        likely = expit(log_odds + logit(prior)) > 0.5
        limit = -3.0 if length < 1500 else -2.0 if length < 3000 else 0.0
        expected = "viral" if fdr <= max_fdr and likely else "cellular" if log_odds <= limit else "unresolved"
        assert call == expected
        far = f"fdr over {max_fdr:g}" if fdr > max_fdr else "posterior not over 0.5"
        why = far if log_odds > 0 else "between viral and cellular"
        assert reason == (why if call == "unresolved" else "")
        assert call != "cellular" or log_odds <= 0, "no score over 0.5 is cellular"


@pytest.mark.parametrize("log_odds", [-1.0, 0.0])
def test_a_contig_that_is_no_likelier_viral_is_not_viral_however_low_the_fdr(log_odds: float) -> None:
    labels, _ = label_contigs(REQUIREMENTS, table([9.0] * 99 + [log_odds], [5000] * 100), 0.5, 0.05)
    assert labels["fdr"].iloc[-1] < 0.01
    assert labels["call"].iloc[-1] == "cellular"


def test_an_fdr_at_the_limit_is_viral() -> None:
    contigs = table([2.5, 1.5], [5000, 5000])
    limit = label_contigs(REQUIREMENTS, contigs, 0.5)[0]["fdr"].iloc[1]
    labels, _ = label_contigs(REQUIREMENTS, contigs, 0.5, limit)
    assert labels["call"].tolist() == ["viral", "viral"]


def test_a_contig_at_the_least_length_and_residues_is_called() -> None:
    scored = pd.DataFrame({"log_odds": 6.0, "genes": 1, "residues": 50, "genetic_code": 11}, index=["least"])
    calls, _ = decide_contigs(REQUIREMENTS, pd.Series([500], index=["least"]), scored, min_length=500)
    assert calls[["call", "reason"]].to_numpy().tolist() == [["viral", ""]]


def test_reasons_and_empty_cells_of_contigs_that_are_not_called() -> None:
    lengths = pd.Series([0, 200, 499, 700, 900, 5000], index=["empty", "closed", "short", "few", "asked", "good"])
    scored = pd.DataFrame(
        {"log_odds": 6.0, "genes": 1, "residues": [120, 49, 250, 900], "genetic_code": [11, 4, 11, 11]},
        index=["short", "few", "asked", "good"],
    )
    calls, share = decide_contigs(REQUIREMENTS, lengths, scored, None, 0.05, min_length=1000)
    assert share.source == "default"
    rows = calls.set_index("contig")
    assert rows["reason"].to_dict() == {
        "empty": "nothing in the record",
        "closed": "no open reading frame",
        "short": "shorter than tested: 500 bases",
        "few": "fewer than 50 residues",
        "asked": "shorter than 1000 bases",
        "good": "",
    }
    assert rows["call"].tolist() == ["unresolved"] * 5 + ["viral"]
    unknown = rows.loc[["empty", "closed"], ["score", "log_odds", "posterior", "fdr"]]
    assert (unknown == "").all(axis=None)
    assert rows["genes"].tolist() == [0, 0, 1, 1, 1, 1]
    assert rows["genetic_code"].isna().tolist() == [True, True, False, False, False, False]
    assert (rows.loc[["short", "few", "asked"], ["posterior", "fdr"]] == "").all(axis=None)
    assert rows.loc["short", "score"] == "0.9975"
    assert rows.loc["good", ["score", "posterior", "fdr"]].tolist() == ["0.9975", "0.9782", "0.0218"]


@pytest.mark.parametrize(("log_odds", "call"), [(0.619, "viral"), (0.618, "unresolved"), (-0.619, "cellular")])
def test_scores_of_the_original_are_no_probabilities(log_odds: float, call: str) -> None:
    labels, share = label_contigs(PUBLISHED, table([log_odds] * 60, [300] * 60))
    assert set(labels["call"]) == {call}
    assert share == (0.5, 0.5, 0.5, "given"), "no share is estimated from them"
    assert labels[["posterior", "fdr"]].isna().all(axis=None)


def test_the_tier_and_the_call_follow_from_the_log_odds_that_are_written() -> None:
    differences = np.concatenate([sign * np.arange(0.29, 0.31, 0.0001) for sign in (-1, 1)])
    names = [f"{difference:.4f}" for difference in differences]
    others, virus = (1 - differences) / 2, (1 + differences) / 2
    chunks = pd.DataFrame({"contig": names, "max_score_0": others, "max_score_1": virus}).loc[
        np.arange(len(names)).repeat(6)
    ]
    scored = score_contigs(chunks).assign(genes=6, residues=600, genetic_code=11)
    calls, _ = decide_contigs(PUBLISHED, pd.Series(5000, index=names), scored)
    written = calls["log_odds"].astype(float)
    expected = np.select([written >= 0.619, written <= -0.619], ["viral", "cellular"], "unresolved")
    assert calls["call"].tolist() == expected.tolist()
    assert calls["tier"].tolist() == np.where(expected == "unresolved", "review", "low_confidence").tolist()
    assert len(set(expected)) == 3


def test_contigs_that_are_not_called_are_for_review_if_they_have_a_tier() -> None:
    chunks = pd.DataFrame({"contig": ["long"] * 6 + ["short"] * 6, "max_score_0": 0.05, "max_score_1": 0.95})
    scored = score_contigs(chunks).assign(genes=6, residues=600, genetic_code=11)
    assert set(scored["tier"]) == {"high_confidence"}
    lengths = pd.Series([5000, 900, 5000], index=["long", "short", "closed"])
    calls, _ = decide_contigs(PUBLISHED, lengths, scored, min_length=1000)
    assert calls["tier"].tolist() == ["high_confidence", "review", ""]
    assert calls[CHUNK_COLUMNS[1:]].to_numpy().tolist() == [[6, 6, 0, 0], [6, 6, 0, 0], [0, 0, 0, 0]]


def test_the_share_counts_contigs_that_are_called() -> None:
    names = [f"c{n}" for n in range(300)]
    lengths = pd.Series([5000] * 100 + [300] * 200, index=names)
    log_odds = [8.0] * 50 + [-8.0] * 50 + [8.0] * 200  # short ones look viral
    scored = pd.DataFrame({"log_odds": log_odds, "genes": 5, "residues": 500, "genetic_code": 11}, index=names)
    _, share = decide_contigs(REQUIREMENTS, lengths, scored)
    assert share.value == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("genes", "log_odds"), [(400, 0.0), (400, 0.2), (5000, 0.2), (50_000, 0.2)])
def test_a_chromosome_whose_genes_say_nothing_stays_unresolved(genes: int, log_odds: float) -> None:
    model = load_classifier(DEFAULT)
    gene = {"contig": "c", "residues": 300, "chunk": 0, "genetic_code": 11}
    rows = pd.DataFrame([gene | {"group": number, "strand": "+-"[number % 2]} for number in range(genes)])
    lengths, most = pd.Series({"c": genes * 1000}), model.requirements.most_genes
    evidence = evidence_of_contigs(describe_groups(rows), np.full(genes, log_odds), lengths, most)
    found = model.contig_log_odds(evidence[EVIDENCE].to_numpy())
    assert abs(found[0]) < 0.6
    for prior in (0.01, 0.5):
        labels, _ = label_contigs(model.requirements, table(found.tolist(), [genes * 1000]), prior)
        assert labels["call"].tolist() == ["unresolved"], "more genes make it no surer"


def test_shared_kmers_with_a_known_virus_count_up_to_a_cap() -> None:
    contigs = ["none", "some", "most"]
    row = {"start": 0, "end": 300, "strand": "+", "kind": "gene", "genetic_code": 11, "residues": 100, "chunk": 0}
    proteins = describe_groups(pd.DataFrame([row | {"contig": name, "group": i} for i, name in enumerate(contigs)]))
    model = load_classifier(DEFAULT)

    class Same:
        """Equal embeddings of all proteins."""

        by_screen, embedded = np.full(len(proteins), np.nan), np.ones(len(proteins), bool)

        def rows(self, numbers: np.ndarray) -> np.ndarray:
            return np.ones((len(numbers), len(model.mean) - 1), np.float32)

    lengths = pd.Series(300, contigs)
    scores = score_sample(model, proteins, Same(), lengths, pd.Series({"some": 0.1, "most": 0.9}))  # type: ignore[arg-type]
    log_odds = scores.contigs["log_odds"].to_numpy(np.float64)
    assert (log_odds - log_odds[0]).round(6).tolist() == [0, 0.918, round(KNOWN_WEIGHT * MOST_KNOWN, 6)]
