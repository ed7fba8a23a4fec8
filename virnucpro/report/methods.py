"""What a run was made with, in words: a paragraph for a paper, and versions, digests and settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from virnucpro.data.provenance import Provenance
from virnucpro.report.shares import describe_shares

SHOWN_SAMPLES = 20  # named with the digests of their files

_FOUND = {
    "gene": "Genes were found by pyrodigal-gv (Larralde 2022; Camargo et al. 2024), and open reading frames of contigs "
    "without any.",
    "frame": "Contigs were cut into chunks of {chunk_size} bp, whose open frames were translated (Li et al. 2025).",
}
_RULE = (
    "A contig was called viral if its expected false discovery rate was at most {max_fdr:g} and its posterior "
    "probability over 0.5. It was called cellular if its calibrated log-odds were at most the limit of its length "
    "({limits}). Others were left unresolved, as were contigs with fewer than {fewest_residues} residues in their "
    "proteins or fewer than {shortest:,} bases. Posterior and rate follow from the share of viral contigs in the "
    "sample: {share}."
)
_PUBLISHED_RULE = (
    "Frames were scored by a classifier of VirNucPro. A contig was called viral where the mean difference of its "
    "chunks' best scores for virus and for others, weighted by the root of its size, exceeded 0.3, cellular below -0.3 "
    "(broadinstitute/viral-ngs)."
)
_LONG = {
    "cut": "cut to the first {max_sequence_length}",
    "windows": "embedded in overlapping windows of {max_sequence_length}",
}
_NAMES = (
    "Functions of genes were named by neural networks over their embeddings. Taxa of ICTV's Master Species List 41 (CC "
    "BY 4.0) were named by the k-mers of proteins shared with reference viruses, and by such networks."
)
_GENES = "Larralde 2022, doi:10.21105/joss.04296; Camargo et al. 2024, doi:10.1038/s41587-023-01953-y; "


def describe_methods(
    merged: Provenance, called: Provenance, shares: Sequence[Mapping[str, Any]], total: Mapping[str, Any]
) -> str:
    """Return a paragraph on what was done, with citations.

    From the records of a sample, the shares of viral contigs of all samples, and counts of all contigs.
    """
    made, dnabert = merged.details["embedding"], called.details["nucleotides"]
    estimated = any(share["source"] == "estimated" for share in shares)
    layers = f"layer{'s' if len(made['layers']) > 1 else ''} {', '.join(map(str, made['layers']))}"
    sentences = [
        f"Contigs were classified with virnucpro {merged.details['versions']['virnucpro']} (Li et al. 2025).",
        _FOUND[made["proteins"]].format_map(made),
        f"Proteins were embedded with ESM-2 (Lin et al. 2023; {made['encoder']}, "
        f"SHA-256 {made['encoder_sha256'][:12]}, {layers}, mean over residues, {made['precision']}); those of more "
        f"than {made['max_sequence_length']} residues were {_LONG[made['long_proteins']].format_map(made)}.",
        "The nucleotides of the frames were embedded with DNABERT-S (Zhou et al. 2024; {encoder}, SHA-256 "
        "{encoder_sha256:.12}, mean over all tokens, {precision}).".format_map(dnabert)
        if dnabert
        else "",
        f"The classifier has the SHA-256 {called.inputs['classifier'][:12]}.",
        _describe_rule(called, shares),
        f"Of {total['contigs']:,} contigs {total['viral']:,} were called viral, {total['cellular']:,} cellular, and "
        f"{total['unresolved']:,} were left unresolved. In those that were not called viral a chain of two states over "
        f"the log-odds of proteins found {total['proviruses']:,} proviruses.",
        _NAMES,
        f"References: Li et al. 2025, doi:10.1093/bib/bbaf224; {_GENES if made['proteins'] == 'gene' else ''}"
        f"Lin et al. 2023, doi:10.1126/science.ade2574{'; Zhou et al. 2024, arXiv:2402.08777' if dnabert else ''}"
        f"{'; Saerens et al. 2002, doi:10.1162/089976602753284446' if estimated else ''}.",
    ]
    return " ".join(filter(None, sentences))


def _describe_rule(called: Provenance, shares: Sequence[Mapping[str, Any]]) -> str:
    """Return by which rule contigs were called."""
    if called.details["is_published"]:
        return _PUBLISHED_RULE
    classes = called.details["cellular_to"]
    return _RULE.format(
        max_fdr=called.settings["max_fdr"],
        limits=", ".join(f"{limit:g} from {start:,} bases" for start, limit in classes),
        fewest_residues=called.details["fewest_residues"],
        shortest=max(called.settings["min_length"], classes[0][0]),
        share=describe_shares(shares).replace("estimated", "estimated by maximum likelihood (Saerens et al. 2002)"),
    )


def describe_versions(merged: Mapping[str, Provenance], called: Provenance) -> str:
    """Return lines with versions, devices, digests and the command.

    From the records of the embeddings, by samples, and of the calls of one of them.
    """
    of_all = [record.details for record in merged.values()]
    lines = {
        "versions": ", ".join(f"{name} {version}" for name, version in of_all[0]["versions"].items()),
        **{key: ", ".join(sorted({one for run in of_all for one in run[key]})) for key in ("devices", "attention")},
        "model": "{encoder}, SHA-256 {encoder_sha256}".format_map(of_all[0]["embedding"]),
        "classifier": f"SHA-256 {called.inputs['classifier']}",
        "command": of_all[0]["command"] or "the stages by hand",
    }
    text = "".join(f"{name + ':':12}{value}\n" for name, value in lines.items())
    for name, record in list(merged.items())[:SHOWN_SAMPLES]:
        text += "sample:     {name}: {path}, SHA-256 {sha256}\n".format(name=name, **record.details["input"])
    if len(merged) > SHOWN_SAMPLES:
        text += f"and {len(merged) - SHOWN_SAMPLES:,} samples more\n"
    return text


def describe_settings(merged: Provenance, called: Provenance) -> str:
    """Return the configuration, a line a key, from the records of the embeddings and of the calls of a sample."""
    settings = {**merged.details["settings"], **called.settings, "prior": called.settings["prior"] or "auto"}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in sorted(settings.items()))
