"""The methods paragraph states the rule that called the contigs, and its settings."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.made_run import REQUIREMENTS, make_run, names
from virnucpro.calling.requirements import DEFAULT
from virnucpro.data.files import file_digest
from virnucpro.data.provenance import Provenance, read_provenance
from virnucpro.report.methods import describe_methods, describe_settings, describe_versions

TOTAL = {"contigs": 90, "viral": 20, "cellular": 60, "unresolved": 10, "proviruses": 3}


def records(folder: Path, **settings: Any) -> tuple[Provenance, Provenance]:
    make_run(folder, {"soil": names(90)}, **settings)
    work = folder / "work" / "soil"
    return read_provenance(work / "merge.json", "merge"), read_provenance(work / "call.json", "call")


def test_the_rule_with_its_limits_and_the_share(tmp_path: Path) -> None:
    merged, called = records(tmp_path)
    share = called.details["share"]
    text = describe_methods(merged, [called], [share], TOTAL)
    assert "rate was at most 0.05 and its posterior probability over 0.5." in text
    assert "(-1 from 500 bases, 0 from 1,500 bases, 0.5 from 3,000 bases)" in text
    assert "fewer than 100 residues in their proteins or fewer than 500 bases" in text
    interval = "{:.1f} % of contigs ({:.1f} to {:.1f} %)".format(
        *(100 * share[end] for end in ("value", "low", "high"))
    )
    assert f"{interval}, estimated by maximum likelihood (Saerens et al. 2002)." in text
    assert "Of 90 contigs, 20 were called viral, 60 cellular and 10 unresolved; 3 proviruses were found." in text
    longer = replace(called, settings=called.settings | {"min_length": 2000})
    assert "fewer than 2,000 bases" in describe_methods(merged, [longer], [share], TOTAL)


def test_programs_are_named_with_the_versions_that_made_the_calls(tmp_path: Path) -> None:
    merged, called = records(tmp_path)
    made = dict(merged.details["embedding"], proteins="gene")
    of_genes = replace(merged, details={**merged.details, "embedding": made})
    text = describe_methods(of_genes, [called], [called.details["share"]], TOTAL)
    for words in ("virnucpro 0.9.1", "pyrodigal-gv 0.3.2", "Pyrodigal 3.7.1", "Snakemake 9.27.1", "a classifier (SHA-"):
        assert words in text
    facts = describe_versions({"soil": merged}, called)
    assert "command:    virnucpro run soil.fa\n" in facts
    assert "versions:   virnucpro 0.9.1, pyrodigal-gv 0.3.2" in facts
    shipped = replace(called, inputs={**called.inputs, "classifier": file_digest(DEFAULT)})
    assert "the classifier shipped with virnucpro" in describe_methods(of_genes, [shipped], [], TOTAL)


@pytest.mark.parametrize("genes", ["pyrodigal-gv", "frames"])
def test_references_are_those_that_the_text_cites(genes: str, tmp_path: Path) -> None:
    merged, called = records(tmp_path)
    called = replace(called, details={**called.details, "genes": genes})
    text, references = describe_methods(merged, [called], [called.details["share"]], TOTAL).split("\n\nReferences\n")
    listed = [line.partition(". ")[0] for line in references.replace("et al. ", "et al_ ").splitlines()]
    assert listed == sorted(listed)
    cited = set(re.findall(r"[A-ZÖ]\w+(?: et al\.)? (?:19|20)\d\d", text))
    assert {work.replace("et al_", "et al.") for work in listed} == cited
    assert ("Hyatt et al. 2010" in cited) == (genes != "frames")
    assert all("doi:10." in line for line in references.splitlines())


def test_genes_of_the_user_are_not_said_to_be_found(tmp_path: Path) -> None:
    merged, found = records(tmp_path)
    given = replace(found, details={**found.details, "genes": "file"})
    text = describe_methods(merged, [given, given], [], TOTAL)
    assert " Genes were read from GFF3 or GenBank files of the user." in text
    assert "pyrodigal" not in text.lower()
    text = describe_methods(merged, [given, found, found], [], TOTAL)
    assert "In 1 of 3 samples, genes were read from" in text
    assert "In 2 of 3 samples, genes were found by pyrodigal-gv 0.3.2" in text


def test_a_share_that_was_given(tmp_path: Path) -> None:
    merged, called = records(tmp_path, prior=0.02)
    text = describe_methods(merged, [called], [called.details["share"]], TOTAL)
    assert "share of viral contigs in the sample: 2.0 % of contigs, given." in text
    assert "Saerens" not in text


def test_the_rule_of_published_classifiers(tmp_path: Path) -> None:
    published = replace(REQUIREMENTS, cellular_to=((0, -0.619),), fewest_residues=1, is_published=True)
    merged, called = records(tmp_path, requirements=published)
    text = describe_methods(merged, [called], [], TOTAL)
    assert "exceeded 0.3, and cellular below -0.3" in text
    assert "false discovery" not in text
    assert "prior" not in describe_settings(merged, called)


@pytest.mark.parametrize(("prior", "shown"), [(None, '"auto"'), (0.02, "0.02")])
def test_settings_are_those_that_were_used(prior: float | None, shown: str, tmp_path: Path) -> None:
    merged, called = records(tmp_path, prior=prior)
    lines = describe_settings(merged, called).splitlines()
    used = {f"prior: {shown}", "max_fdr: 0.05", "min_length: 0", 'model: "tiny"', "chunk_size: 500"}
    used |= {"cellular_to: [[500, -1.0], [1500, 0.0], [3000, 0.5]]", "fewest_residues: 100"}
    assert used <= set(lines)
    assert any(line.startswith('classifier: "SHA-256 ') for line in lines)
    made = dict(merged.details["embedding"], proteins="gene")
    of_genes = replace(merged, details={**merged.details, "embedding": made})
    assert "chunk_size" not in describe_settings(of_genes, called), "genes are not cut into chunks"


def test_the_encoder_is_named_with_its_reference(tmp_path: Path) -> None:
    merged, called = records(tmp_path)
    assert "with ESM-2 (Lin et al. 2023; " in describe_methods(merged, [called], [], TOTAL)
    of_esmc = replace(merged, details={**merged.details, "architecture": "ESM C"})
    text = describe_methods(of_esmc, [called], [called.details["share"]], TOTAL)
    assert "with ESM C (ESM Team 2024; " in text
    assert "Lin et al. 2023" not in text
