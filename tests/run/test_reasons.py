"""Reasons of jobs, in words."""

import pytest

from virnucpro.run.reasons import describe_reason, has_changed, table_of_jobs

CHANGED = (
    "Params have changed since last execution: Union of exclusive params before and now across all output: "
    "before: {} now: {}"
)
FASTA = "'FASTA SHA-256 0123456789abcdef'", "'FASTA SHA-256 0123456789abcdee'"
KEYS = "'0123456789abcdef'", "'0123456789abcdee'"


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ("'--prior 0.5 --min-length 0'", "'--prior 0.1 --min-length 0'", "--prior was 0.5, is 0.1"),
        ("'--layers 6'", "'--layers 5 -1'", "--layers was 6, is 5 -1"),
        ("'--seed 1'", "'--seed 2 --nucleotides'", "--seed was 1, is 2; --nucleotides was not set, is set"),
        (*FASTA, "FASTA changed"),
        (f"{FASTA[0]}, '--a 1', {KEYS[0]}", f"{FASTA[1]}, '--a 2', {KEYS[1]}", "FASTA changed; --a was 1, is 2"),
        (*KEYS, "an earlier stage or this program has changed"),
        ("'device cpu'", "'device gpu'", "device gpu, was cpu"),
        ("['--type contigs', '--shards 1']", "['--type contigs', '--shards 2']", "--shards was 1, is 2"),
    ],
)
def test_changed_parameters(before: str, now: str, why: str) -> None:
    reason = CHANGED.format(before, now)
    assert has_changed(reason)
    assert describe_reason(reason) == why


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("Missing output files: out/soil/contigs.tsv", "not made yet"),
        ("Input files updated by another job: a, b", "what it reads is new"),
        ("Updated input files: a", "what it reads has changed"),
        ("Forced execution", "asked for"),
        ("Something that a later Snakemake says: x", "something that a later snakemake says"),
    ],
)
def test_other_reasons(reason: str, why: str) -> None:
    assert not has_changed(reason)
    assert describe_reason(reason) == why


def test_a_table_of_jobs() -> None:
    jobs = [{"rule_name": "token_budget", "reason": "Forced execution"}]
    jobs += [{"rule_name": "call", "reason": "Missing output files: x"}] * 1_000
    jobs += [{"rule_name": "call", "reason": "Updated input files: x"}]
    assert table_of_jobs(jobs) == (
        "stage          jobs  why\n"
        "token budget      1  asked for\n"
        "call          1,001  not made yet (1,000); what it reads has changed (1)\n"
    )
