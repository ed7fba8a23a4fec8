"""Sentences with the reason of a call."""

import numpy as np
import pytest

from virnucpro.naming.names import HALLMARKS
from virnucpro.naming.why import closest_known, explain, functions_named, genes_speak, sentence, what_is_found

MEASURED = {
    "test, 3 to 10 kb": {"found": {"value": 0.914}, "false": {"value": 0.0171}, "lost": {"value": 0.0096}},
    "cross-validation, 3 to 10 kb": {"found": {"value": 0}, "false": {"value": 0}, "lost": {"value": 0}},
    "cross-validation, from 10 kb": {"found": {"value": 0.97}, "false": {"value": 0.004}, "lost": {"value": 0.001}},
}


Row = tuple[str, float, str, str, int]


def row(call: str, length: int, reason: str = "", name: str = "", share: float = 0.0) -> Row:
    return name, share, call, reason, length


@pytest.mark.parametrize(
    ("of", "log_odds", "functions", "expected"),
    [
        (
            row("viral", 3000, name="Escherichia phage T7", share=0.724),
            [3, 1, 0.9, -1, -2, 5],
            ["holin", "portal protein", "", "cellular", "", "holin"],
            "3 of 6 genes speak for a virus, 2 for a cell; portal protein and holin named; closest known: Escherichia "
            "phage T7 (72 % of the proteins' k-mers shared); 91 % of viruses of 3 to 10 kb are found, and 1.7 % of "
            "other contigs are called viral.",
        ),
        (
            row("cellular", 10_000),
            [-3, -1, 0.9, -8],
            ["cellular", "cellular", "", ""],
            "3 of 4 genes speak for a cell; 0.1 % of viruses from 10 kb are called cellular.",
        ),
        (
            row("unresolved", 9_999, "between the limits"),
            [0.5, -0.5],
            ["", "transposase"],
            "2 genes, none clear; transposase named; not called: between the limits; 9 % of viruses of 3 to 10 kb are "
            "not found.",
        ),
        (row("unresolved", 499, "no gene"), [], [], "No gene; not called: no gene."),
        (row("viral", 1500), [2], [""], "The only gene speaks for a virus."),
        (row("", 0), [2, 2], ["", "holin"], "2 of 2 genes speak for a virus; holin named."),
    ],
    ids=["viral", "cellular", "unresolved", "no gene", "not measured", "provirus"],
)
def test_a_sentence(of: Row, log_odds: list[float], functions: list[str], expected: str) -> None:
    assert explain(np.array(log_odds, np.float64), functions, HALLMARKS, *of, MEASURED) == expected


@pytest.mark.parametrize(
    ("log_odds", "clause"),
    [
        ([], "no gene"),
        ([0.99], "1 gene, not clear"),
        ([-1], "the only gene speaks for a cell"),
        ([0.99, -0.99], "2 genes, none clear"),
        ([1, 1, 0], "2 of 3 genes speak for a virus"),
        ([1, 1, -1], "2 of 3 genes speak for a virus, 1 for a cell"),
        ([-1, -1, 0], "2 of 3 genes speak for a cell"),
    ],
)
def test_how_many_genes_speak(log_odds: list[float], clause: str) -> None:
    assert genes_speak(np.array(log_odds, np.float64)) == clause


def test_functions_are_named_hallmarks_first_and_then_the_frequent() -> None:
    names = ["b", "a", "c", "c", "portal protein", "cellular", "", "d", "e"]
    assert functions_named(names, HALLMARKS) == "portal protein, c, a, b and 2 more named"
    assert functions_named(["b", "a", "c", "d"], HALLMARKS) == "a, b, c and d named"
    assert functions_named(["a"], HALLMARKS) == "a named"
    assert functions_named(["", "cellular"], HALLMARKS) == functions_named([], HALLMARKS) == ""


def test_what_was_measured_of_a_length() -> None:
    assert what_is_found(MEASURED, 2999, "viral") == what_is_found(MEASURED, 10, "viral") == ""
    assert what_is_found({}, 3000, "viral") == ""
    assert what_is_found(MEASURED, 3000, "cellular") == "1.0 % of viruses of 3 to 10 kb are called cellular"
    assert "97 % of viruses from 10 kb are found" in what_is_found(MEASURED, 10_000, "viral"), "no test"


def test_clauses_that_are_empty_are_left_out() -> None:
    assert closest_known("", 0) == ""
    assert sentence("", "") == ""
    assert sentence("", "aB", "", "c") == "AB; c."
