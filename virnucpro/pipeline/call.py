"""call: call contigs viral or cellular from the embeddings of their proteins."""

import json
import logging
import os
import platform
from collections import Counter
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from virnucpro import __version__
from virnucpro.calling import CALL_FILES, PREDICTION_FILES
from virnucpro.calling.calls import DEFAULT_FDR, SampleScores, decide_contigs, score_by_proteins, score_sample
from virnucpro.calling.classifier import Classifier, load_classifier
from virnucpro.calling.evidence import describe_groups
from virnucpro.calling.features import Features
from virnucpro.calling.published import VirNucPro, load_published
from virnucpro.calling.regions import Region, cut_out, find_regions, genes_of_contigs, supported
from virnucpro.calling.requirements import read_requirements
from virnucpro.calling.result_files import GENE_FINDER, NAME_COLUMNS, write_result_files
from virnucpro.data.files import atomic_path, file_digest
from virnucpro.data.provenance import Provenance, begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.data.tables import read_table, write_table
from virnucpro.errors import UserError
from virnucpro.naming.borders import border_refiner, find_integrases
from virnucpro.naming.miuvig import miuvig_table
from virnucpro.naming.references import DEFAULT as DEFAULT_REFERENCES
from virnucpro.naming.references import References, load_references
from virnucpro.naming.sample import choose_heads, ends_and_borders, name_calls, shares_of_known
from virnucpro.naming.topology import topologies
from virnucpro.proteins import WITHOUT_SEQUENCE
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

PACKAGES = ("pyrodigal-gv", "pyrodigal", "torch", "numpy", "snakemake")  # versions in the record

_LIMITS = ("cellular_to", "fewest_residues", "is_published")  # requirements of a classifier that the page shows
_MEASURED = {"viral", "cellular", "found", "lost", "false", "unresolved", "auroc"}  # values of each set of contigs
_TABLES = {"kinds", "shares"}  # further tables


def call(
    fasta: Path,
    work: Path,
    folder: Path,
    classifier: Path,
    prior: float | None = None,
    max_fdr: float = DEFAULT_FDR,
    min_length: int = 0,
    references: Path | None = None,
    heads: Path | None = None,
    key: str = "",
) -> None:
    """Call the contigs of a sample.

    Writes into the folder of its results:

    - contigs.tsv: One row per contig, in the order of the input.
    - genes.tsv, genes.faa, genes.gff3: Proteins with scores.
    - regions.tsv, regions.gff3, regions.bed, viral.fasta.gz, viral.gbk: Viral contigs, and proviruses in others.
    - miuvig.tsv: MIUViG fields of these regions.
    - prediction_results.txt, prediction_results_highestscore.csv: Frames and chunks in the original's formats, for a
      classifier of the original VirNucPro.

    Args:
        work: Folder of the sample below `work`, with the files of prepare and the record of merge.
        folder: Folder of the sample's results, with the files of merge.
        prior: Expected share of viral contigs, between 0 and 1; None estimates it from the sample.
        max_fdr: Highest expected false discovery rate of the contigs called viral.
        min_length: Bases of the shortest contig that is called.
        references: References of the user, in addition to the shipped ones.
        heads: Heads that name genes and taxa; None uses the shipped ones, if they were trained on these embeddings.

    Raises:
        UserError: The classifier was trained for other embeddings, or the files do not belong together.
    """
    published = read_requirements(classifier).is_published
    model = load_published(classifier) if published else load_classifier(classifier)
    requirements = model.requirements
    if published:
        logger.info("call: the classifier %s: %s", classifier.name, requirements.origin)
    outputs = [folder / name for name in (*CALL_FILES, *(PREDICTION_FILES if published else ()))]
    record, prepare_record, prepared = work / "call.json", work / "prepare.json", work / "prepared"
    inputs = {"fasta": file_digest(fasta), "classifier": file_digest(classifier)}
    prepare = read_provenance(prepare_record, "prepare")
    genes_of = _source_of_genes(prepare)
    letters = None if genes_of in WITHOUT_SEQUENCE else fasta
    if inputs["fasta"] != prepare.inputs["fasta"]:
        raise UserError(f"{fasta}: not the file that {prepared} was made from; run the prepare stage again")
    for name in ("records.tsv", "proteins.tsv", "proteins.faa"):
        inputs[name] = checked_input(prepared / name, prepare_record, "prepare")
    proteins = describe_groups(read_proteins(prepared))
    features = Features(folder, work, proteins["protein"].tolist(), requirements.nucleotides is not None)
    proteins["scored_by"] = np.where(features.embedded, "encoder", "screen")
    inputs |= features.inputs
    _check_trained_on(model, features)
    records = read_table(prepared / "records.tsv", "record").set_index("record")
    known = [load_references(path) for path in (DEFAULT_REFERENCES, references) if path]
    shares = shares_of_known(proteins, prepared / "proteins.faa", known[0])
    scores = score_sample(model, proteins, features, records["length"], shares)
    contigs, share = decide_contigs(requirements, records["length"], scores.contigs, prior, max_fdr, min_length)
    circles = set(records.index[records["circular"] == 1])
    regions = find_regions(contigs, genes_of_contigs(proteins, scores.log_odds), circles=circles)
    chosen = choose_heads(heads, features)
    integrases = find_integrases(proteins, features, chosen)
    refine = border_refiner(proteins, scores.log_odds, integrases, set(records.index))
    ends, regions = ends_and_borders(letters, regions, refine) if letters else (topologies(()), regions)
    if isinstance(model, Classifier):
        regions = _scored_as_contigs(model, regions, proteins, scores, records["length"], prepared, known[0])
    viral = [found[0] for found in regions.values() if not found[0].is_provirus]
    places = {
        "virus_start": {one.contig: one.start + 1 for one in viral},
        "virus_end": {one.contig: one.end for one in viral},
    }
    for column, of_contigs in places.items():
        contigs.insert(len(contigs.columns) - 1, column, contigs["contig"].map(of_contigs).astype("Int64"))
    screened = proteins["contig"][~features.embedded].value_counts()
    contigs.insert(len(contigs.columns) - 1, "screened", contigs["contig"].map(screened).fillna(0).astype(int))
    contigs.insert(len(contigs.columns) - 1, "proviruses", 0)
    measured = _measured(classifier.with_name("metrics.json"))
    inputs |= {path.name: file_digest(path) for path in (references, heads) if path}
    proteins, contigs, names = name_calls(
        *(prepared / "proteins.faa", proteins, scores.log_odds, features, contigs, ends, regions, measured),
        *(known, chosen),
    )
    regions = supported(regions, dict(zip(names.index, names["hallmarks"], strict=True)))
    contigs["proviruses"] = [sum(one.is_provirus for one in regions.get(name, ())) for name in contigs["contig"]]
    gene_finder = GENE_FINDER if genes_of == GENE_FINDER else "user"
    predicted = {GENE_FINDER: f"{GENE_FINDER};{version(GENE_FINDER)};metagenomic mode", "frames": ""}
    begin_writing(record, outputs)
    with ExitStack() as stack:
        paths = {path.name: stack.enter_context(atomic_path(path)) for path in outputs}
        write_result_files(
            paths, letters, prepared / "proteins.faa", proteins, scores, contigs, regions, names, gene_finder
        )
        table = read_table(paths["regions.tsv"], "name", "contig", "topology", *NAME_COLUMNS)
        fields = miuvig_table(
            *(table, contigs),
            version=__version__,
            parameters=f"max_fdr {max_fdr:g}, min_length {min_length}",
            gene_finder=predicted.get(genes_of, "genes of the user"),
            references="ICTV MSL41",
        )
        write_table(fields, paths["miuvig.tsv"])
    details = {name: getattr(requirements, name) for name in _LIMITS} | {
        "share": share._asdict(),
        "nucleotides": features.nucleotides.as_json() if features.nucleotides else None,
        "genes": genes_of,
        "measured": measured,
        "versions": _versions(),
        "command": os.environ.get("VIRNUCPRO_COMMAND"),
    }
    settings = {"prior": prior, "max_fdr": max_fdr, "min_length": min_length}
    write_provenance(record, "call", settings, inputs, outputs, details, key)
    if not letters:
        logger.info("call: %s: sequences of contigs are not known: viral.fasta.gz and viral.gbk are empty", folder.name)
    calls = Counter(contigs["call"])
    logger.info(
        "call: %s: %d contigs viral, %d cellular, %d unresolved; %d proviruses; share of viral contigs %.3g (%s)",
        *(folder.name, calls["viral"], calls["cellular"], calls["unresolved"], contigs["proviruses"].sum()),
        *(share.value, share.source),
    )


def _source_of_genes(prepare: Provenance) -> str:
    """Return the source of genes: pyrodigal-gv, `file`, `prodigal` or `translations`; `frames` if there are none."""
    if prepare.settings["type"] == "prodigal":
        return "prodigal"
    if prepare.details.get("without_sequence"):
        return "translations"
    if prepare.settings.get("proteins") == "frames":  # proteins of a FASTA file have no such setting
        return "frames"
    return "file" if "genes" in prepare.inputs else GENE_FINDER


def _scored_as_contigs(
    model: Classifier,
    regions: dict[str, list[Region]],
    proteins: pd.DataFrame,
    scores: SampleScores,
    lengths: "pd.Series[int]",
    prepared: Path,
    known: References,
) -> dict[str, list[Region]]:
    """Return regions in which a provirus has the score of a contig with its genes: a score means one thing."""
    proviruses = [region for found in regions.values() for region in found if region.is_provirus]
    if not proviruses:
        return regions
    genes, rows = cut_out(proviruses, proteins, lengths)
    shares = shares_of_known(genes, prepared / "proteins.faa", known)
    bases = pd.Series({region.name: region.end - region.start for region in proviruses})
    log_odds = score_by_proteins(model, genes, scores.log_odds[rows], bases, shares)["log_odds"]
    scored = expit(log_odds.round(3)).to_dict()
    return {
        contig: [region._replace(score=scored.get(region.name, region.score)) for region in found]
        for contig, found in regions.items()
    }


def _check_trained_on(model: Classifier | VirNucPro, features: Features) -> None:
    paths, widths = [str(file.path) for file in features.files], [file.width for file in reversed(features.files)]
    if isinstance(model, VirNucPro) and (inputs := model.hidden_weight.shape[1]) != sum(widths):
        raise UserError(
            f"{paths[0]}: the classifier takes {inputs} numbers of a frame, and {' + '.join(map(str, widths))} were "
            "embedded; give the model that it was trained with"
        )
    features.description.check_trained_for(model.requirements.embedding, paths[0])
    if features.nucleotides and model.requirements.nucleotides:
        features.nucleotides.check_trained_for(model.requirements.nucleotides, paths[1])


def _versions() -> dict[str, str]:
    found = {"virnucpro": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # Snakemake may run the stages from another environment
            found[name] = version(name)
    return found


def _measured(path: Path) -> dict[str, Any]:
    """Return the evaluation of a classifier in its training; empty if the file is missing or of another program."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sets = [one for name, one in found.items() if name not in {*_TABLES, "screen"}]
        if found.keys() >= _TABLES and all(one.keys() >= _MEASURED for one in sets):
            return found
    return {}
