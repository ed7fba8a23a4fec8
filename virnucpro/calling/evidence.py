"""What the proteins of a contig are taken as: genes as they are, frames by the reading frame that they are part of.

A gene is longer than a chunk as often as not. So frames of neighboring chunks that are read in one phase are taken as
one group, although the codon on the border, which no frame holds, may be a stop. Of a chunk, the frames of the longest
group count as evidence: the others are seldom translated. Every gene counts.
"""

import numpy as np
import pandas as pd

from virnucpro.data.arrays import Floats, Rows

EVIDENCE = ["sum_by_root", "mean", "one_strand", "coding", "log_residues"]  # columns that a classifier sees


def describe_groups(proteins: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a sample's proteins, of contigs, with what the groups of linked frames add to each.

    These columns are added: `group_residues`, of all frames of its group; `counts`, whether it is evidence. A gene is a
    group of its own, alone in its chunk.
    """
    chunk = proteins["chunk"].where(proteins["chunk"] > 0, -1 - proteins["group"])  # each gene as if alone in a chunk
    group_residues = proteins.groupby("group")["residues"].transform("sum")
    longest = group_residues.groupby([proteins["contig"], chunk], sort=False).transform("max")
    return proteins.assign(group_residues=group_residues, counts=group_residues == longest)


def group_means(embedding: Rows, proteins: pd.DataFrame) -> Rows:
    """Return the mean embedding over all residues of each protein's group, float32 [proteins, numbers] as the input.

    The table is of `describe_groups`, with all proteins of their contigs.
    """
    if proteins["group"].is_unique:  # genes
        return embedding
    weighted = pd.DataFrame(embedding * proteins["residues"].to_numpy(np.float32)[:, None])
    total = weighted.groupby(proteins["group"].to_numpy()).transform("sum").to_numpy(np.float32)
    return np.asarray(total / proteins["group_residues"].to_numpy(np.float32)[:, None])


def evidence_of_contigs(
    proteins: pd.DataFrame, log_odds: Floats, lengths: "pd.Series[int]", most_genes: int
) -> pd.DataFrame:
    """Return a row a contig, in the order of the proteins, with the contig as index.

    Args:
        proteins: of `describe_groups`.
        log_odds: of the proteins, float64 [proteins].
        lengths: of contigs in bases, by their names.
        most_genes: more proteins than these make a contig no surer.

    Returns:
        Of the proteins that count: `sum_by_root`, the mean of their log-odds times the square root of their number, at
        most `most_genes`; `mean`, their mean log-odds weighted by residues; `one_strand`, from 0 where both strands
        have as many to 1 where one has all; `coding`, the proportion of bases in them, at most 1; `log_residues`, the
        mean logarithm of their residues. Genes of viruses are shorter and denser, and keep to one strand. Of all
        proteins: `genes`, their number, `residues` in them, and `genetic_code`.

    Examples:
        >>> one = {"contig": "c", "residues": 90, "chunk": 0, "genetic_code": 11, "strand": "+"}
        >>> proteins = describe_groups(pd.DataFrame([one | {"group": number} for number in range(160)]))
        >>> evidence = evidence_of_contigs(proteins, np.full(160, 0.2), pd.Series({"c": 54_000}), 40)
        >>> evidence[EVIDENCE].round(3).loc["c"].tolist()
        [1.265, 0.2, 1.0, 0.8, 4.5]
    """
    residues = proteins["residues"]
    sense = np.where(proteins["strand"] == "+", 1, -1)
    columns = {"weighted": log_odds * residues, "sense": sense, "log_residues": np.log(residues)}
    scored = proteins.assign(log_odds=log_odds, **columns)
    of_counted = scored[scored["counts"]].groupby("contig", sort=False)
    by_contig = scored.groupby("contig", sort=False)
    counted_residues = of_counted["residues"].sum()
    return pd.DataFrame(
        {
            "sum_by_root": of_counted["log_odds"].mean() * np.sqrt(of_counted.size().clip(upper=most_genes)),
            "mean": of_counted["weighted"].sum() / counted_residues,
            "one_strand": of_counted["sense"].mean().abs(),
            "coding": (3 * counted_residues / lengths.reindex(counted_residues.index)).clip(upper=1),
            "log_residues": of_counted["log_residues"].mean(),
            "genes": by_contig.size(),
            "residues": by_contig["residues"].sum(),
            "genetic_code": by_contig["genetic_code"].first(),
        }
    )
