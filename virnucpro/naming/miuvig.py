"""MIUViG fields of viral regions: Minimum Information about an Uncultivated Virus Genome.

Roux et al. 2019, doi 10.1038/nbt.4306. Names and vocabularies are from MIxS 5. suvtk writes these fields into the
structured comment of a GenBank record.
"""

from typing import Any

import pandas as pd

COLUMNS = [
    *("contig", "pred_genome_type", "pred_genome_struc", "detec_type", "assembly_qual", "compl_appr", "number_contig"),
    *("vir_ident_software", "feat_pred", "tax_class", "organism", "topology"),
]
GENOME_TYPES = ("dsDNA", "ssDNA", "dsRNA", "ssRNA", "ssRNA(+)", "ssRNA(-)")  # terms of MIxS that ICTV uses
NON_SEGMENTED = {"Duplodnaviria", "Varidnaviria"}  # realms without segmented genomes, as in suvtk 0.2.0
NEAR = 0.9  # share of the shortest complete genome of the taxon from which a genome is nearly complete
_COMPLETE = {
    "circular": "other: circular contig",
    "DTR": "other: direct terminal repeat of {} bp",
    "ITR": "other: inverted terminal repeat of {} bp",
}


def miuvig_table(
    regions: pd.DataFrame,
    contigs: pd.DataFrame,
    *,
    version: str,
    parameters: str,
    gene_finder: str,
    references: str,
) -> pd.DataFrame:
    """Return the MIUViG fields of a sample's regions, one row per region in the order of the table.

    `contig` is the name of the region in viral.fasta.gz and viral.gbk. Unknown fields are empty.

    Args:
        regions: Table regions.tsv.
        contigs: Columns `contig` and `terminal_repeat`.
        parameters: Settings of the calls, without a semicolon, e.g. `max_fdr 0.1`.
        gene_finder: Value of `feat_pred`, SOFTWARE;VERSION;PARAMETERS; empty if no genes were predicted.
        references: Database of the names, e.g. `ICTV MSL41`.
    """
    software = {"vir_ident_software": f"virnucpro;{version};{parameters}", "feat_pred": gene_finder}
    table = regions.merge(contigs[["contig", "terminal_repeat"]], "left", "contig", validate="m:1")
    rows = [_place(row) | _taxon(row, version, references) | software for row in table.itertuples(index=False)]
    return pd.DataFrame(rows, columns=COLUMNS)


def genome_type(genome: str) -> str:
    """Return the MIxS term for a genome type of ICTV.

    Examples:
        >>> [genome_type(genome) for genome in ("ssRNA(+)", "dsDNA-RT", "ssDNA(+/-)", "")]
        ['ssRNA(+)', 'dsDNA', 'ssDNA', 'uncharacterized']
    """
    return next((term for term in (genome, genome[:5]) if term in GENOME_TYPES), "uncharacterized")


def _place(region: Any) -> dict[str, object]:
    """Return the fields on the position of a region and the ends of its contig.

    MIUViG counts a genome that is at least 90 % complete as a high-quality draft, and one of unknown size as a
    fragment. The ends of a complete genome count only if it is as long as complete genomes of its taxon.
    """
    provirus = region.name != region.contig  # also a viral contig between host ends
    ends = "" if provirus else region.topology
    shortest = int(str(region.taxon_length).split("-")[0] or 0)
    complete = ends and shortest and region.length >= NEAR * shortest
    return {
        "contig": region.name,
        "detec_type": "provirus (UpViG)" if provirus else "independent sequence (UViG)",
        "assembly_qual": "High-quality draft genome" if complete else "Genome fragment(s)",
        "compl_appr": _COMPLETE[ends].format(region.terminal_repeat) if complete else "",
        "number_contig": 1,
        "topology": ends,
    }


def _taxon(region: Any, version: str, references: str) -> dict[str, str]:
    """Return the fields on the taxonomy of a region; the organism is the lowest taxon and `sp.`, as NCBI requires."""
    taxa = [taxon for taxon in region.taxonomy.split(";") if taxon not in ("", "Viruses")]
    how = f"virnucpro {version} ({references}, {region.taxon_rank} rank, probability {region.taxon_score})"
    return {
        "pred_genome_type": genome_type(region.genome),
        "pred_genome_struc": "undetermined" if NON_SEGMENTED.isdisjoint(taxa) else "non-segmented",
        "tax_class": how if taxa else "",
        "organism": f"{taxa[-1]} sp." if taxa else "unclassified viruses",
    }
