"""Describe how a run called its contigs: a paragraph and references for a paper, versions, digests and settings."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from virnucpro.calling.requirements import DEFAULT
from virnucpro.data.files import file_digest
from virnucpro.data.provenance import Provenance
from virnucpro.report.shares import describe_shares

SHOWN_SAMPLES = 20  # named with the digests of their files
OF_FRAMES = ("chunk_size", "short_chunks", "genetic_codes")  # settings that genes do not use

_REFERENCES = {
    "Camargo et al. 2023": "Nature Biotechnology, doi:10.1038/s41587-023-01953-y",
    "ESM Team 2024": "ESM Cambrian, https://evolutionaryscale.ai/blog/esm-cambrian",
    "Hyatt et al. 2010": "BMC Bioinformatics, doi:10.1186/1471-2105-11-119",
    "Larralde 2022": "Journal of Open Source Software, doi:10.21105/joss.04296",
    "Lefkowitz et al. 2018": "Nucleic Acids Research, doi:10.1093/nar/gkx932",
    "Li et al. 2025": "Briefings in Bioinformatics, doi:10.1093/bib/bbaf224",
    "Lin et al. 2023": "Science, doi:10.1126/science.ade2574",
    "Mölder et al. 2021": "F1000Research, doi:10.12688/f1000research.29032.2",
    "Rabiner 1989": "Proceedings of the IEEE, doi:10.1109/5.18626",
    "Saerens et al. 2002": "Neural Computation, doi:10.1162/089976602753284446",
    "Zhou et al. 2024": "arXiv:2402.08777",
}
# By where genes come from.
_GENES = {
    "pyrodigal-gv": "genes were found by pyrodigal-gv {pyrodigal-gv}, which runs Prodigal (Hyatt et al. 2010) through "
    "Pyrodigal {pyrodigal} (Larralde 2022) with models for viruses and other genetic codes (Camargo et al. 2023). In "
    "contigs without a gene, open reading frames were used.",
    "file": "genes were read from GFF3 or GenBank files of the user. In contigs without a gene, open reading frames "
    "were used.",
    "translations": "genes were the translations in GenBank files of the user. The sequences of contigs were "
    "not known.",
    "prodigal": "genes were those of Prodigal (Hyatt et al. 2010) in a file of proteins with positions. A contig was "
    "taken to end with its last gene, because its sequence was not known.",
    "frames": "contigs were cut into chunks of {chunk_size} bases. The open frames of the chunks were translated.",
}
_ENCODERS = {"ESM-2": "ESM-2 (Lin et al. 2023; ", "ESM C": "ESM C (ESM Team 2024; "}
_EMBEDDED = "{encoder}, SHA-256 {encoder_sha256:.12}, mean over residues of layers {of_layers}, {precision}). "
_LONG = {
    "cut": "Proteins of more than {max_sequence_length} residues were cut to the first {max_sequence_length}.",
    "windows": "Proteins of more than {max_sequence_length} residues were embedded in overlapping windows.",
}
_SCREENED = (
    "Genes that were clearly cellular by the composition of the proteins in their neighborhood ({:,} in the first "
    "sample) were not embedded. They were scored by their composition."
)
_NUCLEOTIDES = (
    "The nucleotides of the frames were embedded with DNABERT-S (Zhou et al. 2024; {encoder}, SHA-256 "
    "{encoder_sha256:.12}, mean over all tokens, {precision})."
)
_RULE = (
    "A contig was called viral if its expected false discovery rate was at most {max_fdr:g} and its posterior "
    "probability over 0.5. It was called cellular if its calibrated log-odds were at most the limit for its length "
    "({limits}). Other contigs were left unresolved, as were contigs with fewer than {fewest_residues} residues in "
    "their proteins or fewer than {shortest:,} bases. The posterior and the rate depend on the share of viral contigs "
    "in the sample: {share}. Proviruses were sought in contigs that were not called viral, by a Markov chain with two "
    "states over the log-odds of genes (Rabiner 1989)."
)
_PUBLISHED_RULE = (
    "A contig was called viral if the mean difference between its chunks' best scores for virus and for others, "
    "weighted by the square root of its size, exceeded 0.3, and cellular below -0.3 (broadinstitute/viral-ngs)."
)
_NAMES = (
    "Functions of genes were named by neural networks from the embeddings. Taxa of the ICTV Master Species List 41 "
    "(Lefkowitz et al. 2018) were named by k-mers of proteins shared with reference viruses, and by such networks."
)


def describe_methods(
    merged: Provenance, calls: Sequence[Provenance], shares: Sequence[Mapping[str, Any]], total: Mapping[str, Any]
) -> str:
    """Return a paragraph on methods, and a line for each work that it cites.

    Args:
        merged: record of the embeddings of the first sample.
        calls: records of the calls of all samples.
        shares: estimated share of viral contigs of each sample.
        total: counts over all contigs.
    """
    called = calls[0]
    made, versions = merged.details["embedding"], called.details["versions"]
    layers = ", ".join(map(str, made["layers"]))
    workflow = "The steps were run by Snakemake {snakemake} (Mölder et al. 2021)." if "snakemake" in versions else ""
    nucleotides, is_published = called.details["nucleotides"], called.details["is_published"]
    sentences = [
        f"Viruses were identified with virnucpro {versions['virnucpro']}. Its idea, to classify contigs by a protein "
        "language model, is that of VirNucPro (Li et al. 2025).",
        *_describe_genes(calls, versions | made),
        f"Proteins were embedded with {_ENCODERS[merged.details['architecture']]}"
        + _EMBEDDED.format(of_layers=layers, **made)
        + _LONG[made["long_proteins"]].format_map(made),
        _SCREENED.format(merged.details["screened"]) if merged.details["screened"] else "",
        _NUCLEOTIDES.format_map(nucleotides) if nucleotides else "",
        f"Contigs were scored by {_describe_classifier(called)}.",
        _PUBLISHED_RULE if is_published else _describe_rule(called, shares),
        f"Of {total['contigs']:,} contigs, {total['viral']:,} were called viral, {total['cellular']:,} cellular and "
        f"{total['unresolved']:,} unresolved; {total['proviruses']:,} proviruses were found.",
        _NAMES,
        workflow.format_map(versions),
    ]
    text = " ".join(filter(None, sentences))
    cited = [f"{work}. {where}" for work, where in _REFERENCES.items() if work in text]
    return "\n".join([text, "", "References", *cited])


def _describe_genes(calls: Sequence[Provenance], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences that say where genes come from, with the number of samples if these differ."""
    counts = Counter(called.details["genes"] for called in calls)
    for source, count in counts.items():
        text = _GENES[source].format_map(values)
        yield f"In {count} of {len(calls)} samples, {text}" if len(counts) > 1 else text[0].upper() + text[1:]


def _describe_classifier(called: Provenance) -> str:
    digest = called.inputs["classifier"]
    kind = "the classifier shipped with virnucpro" if digest == file_digest(DEFAULT) else "a classifier"
    return f"{kind} (SHA-256 {digest[:12]})"


def _describe_rule(called: Provenance, shares: Sequence[Mapping[str, Any]]) -> str:
    """Return the rule by which contigs were called."""
    classes = called.details["cellular_to"]
    return _RULE.format(
        max_fdr=called.settings["max_fdr"],
        limits=", ".join(f"{limit:g} from {start:,} bases" for start, limit in classes),
        fewest_residues=called.details["fewest_residues"],
        shortest=max(called.settings["min_length"], classes[0][0]),
        share=describe_shares(shares).replace("estimated", "estimated by maximum likelihood (Saerens et al. 2002)"),
    )


def describe_versions(merged: Mapping[str, Provenance], called: Provenance) -> str:
    """Return lines with the command that made the calls, versions, devices and digests.

    From the records of the embeddings, by samples, and of the calls of one of them.
    """
    of_all = [record.details for record in merged.values()]
    lines = {
        "command": called.details["command"] or "single stages, without the workflow",
        "versions": ", ".join(f"{name} {version}" for name, version in called.details["versions"].items()),
        **{key: ", ".join(sorted({one for run in of_all for one in run[key]})) for key in ("devices", "attention")},
        "model": "{encoder}, SHA-256 {encoder_sha256}".format_map(of_all[0]["embedding"]),
        "classifier": f"SHA-256 {called.inputs['classifier']}",
    }
    text = "".join(f"{name + ':':12}{value}\n" for name, value in lines.items())
    for name, record in list(merged.items())[:SHOWN_SAMPLES]:
        text += "sample:     {name}: {path}, SHA-256 {sha256}\n".format(name=name, **record.details["input"])
    if len(merged) > SHOWN_SAMPLES:
        text += f"and {len(merged) - SHOWN_SAMPLES:,} samples more\n"
    return text


def describe_settings(merged: Provenance, called: Provenance) -> str:
    """Return the settings that the results depend on, a line each, from the records of a sample."""
    details, classifier = called.details, called.inputs["classifier"]
    settings = {**merged.details["settings"], **called.settings, "classifier": f"SHA-256 {classifier}"}
    settings |= {"cellular_to": details["cellular_to"], "fewest_residues": details["fewest_residues"]}
    if merged.details["embedding"]["proteins"] == "gene":
        settings = {name: value for name, value in settings.items() if name not in OF_FRAMES}
    if details["is_published"]:  # which takes no account of them
        settings = {name: value for name, value in settings.items() if name not in ("prior", "max_fdr")}
    elif settings["prior"] is None:
        settings["prior"] = "auto"
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in sorted(settings.items()))
