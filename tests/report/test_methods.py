"""The methods paragraph states the rule that called the contigs, and its settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.made_run import REQUIREMENTS, make_run, names
from virnucpro.data.provenance import Provenance, read_provenance
from virnucpro.report.methods import describe_methods, describe_settings

TOTAL = {"contigs": 90, "viral": 20, "cellular": 60, "unresolved": 10, "proviruses": 3}


def records(folder: Path, **settings: Any) -> tuple[Provenance, Provenance]:
    make_run(folder, {"soil": names(90)}, **settings)
    work = folder / "work" / "soil"
    return read_provenance(work / "merge.json", "merge"), read_provenance(work / "call.json", "call")


def test_the_rule_with_its_limits_and_the_share(tmp_path: Path) -> None:
    merged, called = records(tmp_path)
    share = called.details["share"]
    text = describe_methods(merged, called, [share], TOTAL)
    assert "rate was at most 0.05 and its posterior probability over 0.5." in text
    assert "(-1 from 500 bases, 0 from 1,500 bases, 0.5 from 3,000 bases)" in text
    assert "fewer than 100 residues in their proteins or fewer than 500 bases" in text
    interval = "{:.1f} % of contigs ({:.1f} to {:.1f} %)".format(
        *(100 * share[end] for end in ("value", "low", "high"))
    )
    assert f"{interval}, estimated by maximum likelihood (Saerens et al. 2002)." in text
    assert "Saerens et al. 2002, doi:10.1162/089976602753284446" in text
    assert "ICTV's Master Species List 41 (CC BY 4.0) were named by the k-mers of proteins" in text
    longer = replace(called, settings=called.settings | {"min_length": 2000})
    assert "fewer than 2,000 bases" in describe_methods(merged, longer, [share], TOTAL)


def test_a_share_that_was_given(tmp_path: Path) -> None:
    merged, called = records(tmp_path, prior=0.02)
    text = describe_methods(merged, called, [called.details["share"]], TOTAL)
    assert "share of viral contigs in the sample: 2.0 % of contigs, given." in text
    assert "Saerens" not in text


def test_the_rule_of_published_classifiers(tmp_path: Path) -> None:
    published = replace(REQUIREMENTS, cellular_to=((0, -0.619),), fewest_residues=1, is_published=True)
    text = describe_methods(*records(tmp_path, requirements=published), [], TOTAL)
    assert "exceeded 0.3, cellular below -0.3" in text
    assert "false discovery" not in text


@pytest.mark.parametrize(("prior", "shown"), [(None, '"auto"'), (0.02, "0.02")])
def test_settings_of_calls_are_named(prior: float | None, shown: str, tmp_path: Path) -> None:
    lines = describe_settings(*records(tmp_path, prior=prior)).splitlines()
    assert {f"prior: {shown}", "max_fdr: 0.05", "min_length: 0", 'model: "tiny"'} <= set(lines)
