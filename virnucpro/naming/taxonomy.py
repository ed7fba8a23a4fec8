"""Taxa of viruses, from realm to genus, each stated only with enough evidence.

Shared k-mers are evidence for lower ranks, embeddings of genes for higher ones. Probabilities were fitted with the next
lower taxon left out: the own species for genus, the own genus for family, the own family for all ranks above.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from virnucpro.data.tables import read_table
from virnucpro.naming import RANKS
from virnucpro.naming.kmers import K
from virnucpro.naming.references import References

FEWEST_SHARED = 3  # k-mers; fewer can be shared by chance
LEAST_SHARE = 0.01  # lowest share of a contig's k-mers


def closest_references(hits: pd.DataFrame) -> pd.DataFrame:
    """Return the closest reference of each owner, by `owner`; owners without a close reference are left out.

    Columns: `reference`, its number; `shared` and `kmers`, as in `shared_kmers`; `share`, the proportion of the owner's
    k-mers that it has; `identity`, the amino-acid identity estimated as the seventh root of the share (Fan et al. 2015,
    doi 10.1186/s12864-015-1647-5).

    Examples:
        >>> hits = pd.DataFrame({"owner": [0, 0], "reference": [4, 9], "shared": [50, 20], "kmers": [200, 200]})
        >>> closest_references(hits).loc[0, ["reference", "share", "identity"]].round(2).tolist()
        [4.0, 0.25, 0.82]
    """
    best = hits[is_close(hits)].drop_duplicates("owner").set_index("owner")
    share = best["shared"] / best["kmers"]
    return best.assign(share=share, identity=share ** (1 / K))


def is_close(hits: pd.DataFrame) -> "pd.Series[bool]":
    """Return whether hits are more than chance: at least three shared k-mers, and 1 % of the owner's k-mers."""
    return (hits["shared"] >= FEWEST_SHARED) & (hits["shared"] >= LEAST_SHARE * hits["kmers"])


def relation_features(hits: pd.DataFrame, taxa: "pd.Series[str]") -> pd.DataFrame:
    """Return the features of a rank's probability, one row for each owner with a hit, by `owner`.

    Columns:

    - `reference`: Closest reference that is placed at the rank.
    - `taxon`: Its taxon.
    - `share`, `shared`: Logarithms of the proportion and of the number of shared k-mers.
    - `margin`: Proportion of these k-mers that the closest reference of another taxon does not have.

    Args:
        hits: Table of `shared_kmers`.
        taxa: Result of `taxa_at`.
    """
    hits = hits[is_close(hits)].assign(taxon=lambda table: table["reference"].map(taxa)).dropna(subset=["taxon"])
    first = hits.drop_duplicates("owner").set_index("owner")
    others = hits[hits["taxon"] != hits["owner"].map(first["taxon"])].drop_duplicates("owner").set_index("owner")
    second = others["shared"].reindex(first.index, fill_value=0)
    return pd.DataFrame(
        {
            "reference": first["reference"],
            "taxon": first["taxon"],
            "share": np.log(first["shared"] / first["kmers"]),
            "shared": np.log(first["shared"]),
            "margin": 1 - second / first["shared"],
        }
    )


FEATURES = ["share", "shared", "margin"]


def taxa_at(table: pd.DataFrame, rank: str) -> "pd.Series[str]":
    """Return the taxon of each row at a rank: empty if ICTV has none, NaN if the row is not placed that low.

    Examples:
        Lambdavirus has a genus but no family.

        >>> table = pd.DataFrame({"family": ["", "", "Roniviridae"], "genus": ["Lambdavirus", "", ""]})
        >>> taxa_at(table, "family").tolist()
        ['', nan, 'Roniviridae']
    """
    return table[rank].where((table[rank] != "") | (table["genus"] != ""))


def ranks_by_kmers(hits: pd.DataFrame, references: References) -> pd.DataFrame:
    """Return, for each rank, the closest reference and the probability that its taxon is right, by `owner`.

    Columns are RANK and `p_RANK`, NaN if no close reference is placed at the rank. The references have a model of
    ranks.
    """
    if not references.ranks:
        raise ValueError("references without a model of ranks give no taxa")
    found = []
    for rank, weights in zip(RANKS, references.ranks.weights, strict=True):
        relation = relation_features(hits, taxa_at(references.table, rank))
        probability = expit(relation[FEATURES].to_numpy(np.float64) @ weights[:-1] + weights[-1])
        found.append(pd.DataFrame({rank: relation["reference"], f"p_{rank}": probability}))
    return pd.concat(found, axis=1)


@cache
def taxa_of_ictv() -> pd.DataFrame:
    """Return ICTV's taxa by rank and name; all columns are text.

    `genome` and `host` are given if 95 % of the species have the same. `shortest` and `longest`, lengths of complete
    genomes in bases, are given for genera and families with five or more genomes of similar length.
    """
    columns = ("rank", "taxon", "genome", "host", "genomes", "shortest", "longest")
    table = read_table(Path(__file__).with_name("ictv.tsv.gz"), *columns)
    return table.set_index(["rank", "taxon"])


@cache
def genome_of_class(taxon: str) -> str:
    """Return the genome type of an ICTV class, empty if it has several."""
    table = taxa_of_ictv()
    return str(table.at[("class", taxon), "genome"]) if ("class", taxon) in table.index else ""


# Common names for viruses of some taxa; the lowest rank decides.
_KINDS = {
    "Caudoviricetes": "tailed phage",
    "Faserviricetes": "filamentous phage",
    "Leviviricetes": "RNA phage",
    "Megaviricetes": "giant virus",
    "Microviricetes": "microvirus",
    "Pararnavirae": "reverse-transcribing virus",
    "Pokkesviricetes": "large DNA virus",
    "Virophaviricetes": "virophage",
    "Herviviricetes": "large DNA virus",
    "Naldaviricetes": "large DNA virus",
    "Orthornavirae": "RNA virus",
}
_BY_GENOME = {
    "ssDNA": "single-stranded DNA virus",
    "dsDNA": "double-stranded DNA virus",
    "ssRNA": "RNA virus",
    "dsRNA": "RNA virus",
}
_OF_ONE_HOST = ("phage", "microvirus", "virophage")


def kind_of(lineage: dict[str, str], genome: str, host: str) -> str:
    """Return a common name of a virus from its lineage, genome type and host, empty if not known.

    Examples:
        >>> kind_of({"realm": "Riboviria", "kingdom": "Orthornavirae"}, "ssRNA(+)", "plants")
        'RNA virus of plants'
        >>> kind_of({"class": "Caudoviricetes"}, "dsDNA", "")
        'tailed phage'
    """
    named = [_KINDS[taxon] for rank in RANKS if (taxon := lineage.get(rank, "")) in _KINDS]
    noun = named[-1] if named else _BY_GENOME.get(genome[:5], "")
    if not noun:
        return ""
    if host == "archaea" and noun.endswith("phage"):
        return f"{noun.removesuffix(' phage')} virus of archaea"
    return noun if noun.endswith(_OF_ONE_HOST) or not host else f"{noun} of {host}"
