"""Evidence of a contig from its proteins.

Genes are used directly. Frames are linked first: many genes are longer than a chunk, so frames of neighboring chunks on
one strand and in one phase form one group. The codon on the border lies in no frame, so it may be a stop. In each chunk
only frames of the longest group count as evidence: the others are seldom translated. Every gene counts.
"""

import numpy as np
import pandas as pd

from virnucpro.data.arrays import Floats, Rows

EVIDENCE = ["sum_by_root", "mean", "one_strand", "coding", "log_residues"]  # inputs of a classifier


def describe_groups(proteins: pd.DataFrame) -> pd.DataFrame:
    """Add two columns on groups of linked frames to a table of proteins.

    `group_residues` is the number of residues of all frames of the group, `counts` whether the protein is evidence. A
    gene has its own group and always counts.

    Examples:
        Frame `a` continues in chunk 2 as `c`. Their group is longer than `b`, the other frame of chunk 1.

        >>> columns = {"contig": "c1", "residues": [99, 90, 80], "chunk": [1, 1, 2], "group": [0, 1, 0]}
        >>> describe_groups(pd.DataFrame(columns, index=["a", "b", "c"]))[["group_residues", "counts"]]
           group_residues  counts
        a             179    True
        b              90   False
        c             179    True
    """
    chunk = proteins["chunk"].where(proteins["chunk"] > 0, -1 - proteins["group"])  # each gene has its own chunk
    group_residues = proteins.groupby("group")["residues"].transform("sum")
    longest = group_residues.groupby([proteins["contig"], chunk], sort=False).transform("max")
    return proteins.assign(group_residues=group_residues, counts=group_residues == longest)


def group_means(embedding: Rows, proteins: pd.DataFrame) -> Rows:
    """Return the mean embedding over all residues of each protein's group, float32 [proteins, numbers].

    `proteins` is a table of `describe_groups`, with all proteins of their contigs.
    """
    if proteins["group"].is_unique:  # genes
        return embedding
    weighted = pd.DataFrame(embedding * proteins["residues"].to_numpy(np.float32)[:, None])
    total = weighted.groupby(proteins["group"].to_numpy()).transform("sum").to_numpy(np.float32)
    return np.asarray(total / proteins["group_residues"].to_numpy(np.float32)[:, None])


def evidence_of_contigs(
    proteins: pd.DataFrame, log_odds: Floats, lengths: "pd.Series[int]", most_genes: int
) -> pd.DataFrame:
    """Return the evidence of each contig, one row per contig in the order of the proteins.

    Genes of viruses are shorter, denser and more often on one strand.

    Args:
        proteins: Table of `describe_groups`.
        log_odds: Log-odds of the proteins, float64 [proteins].
        lengths: Lengths of contigs in bases, by their names.
        most_genes: Number of proteins above which more proteins add no certainty.

    Returns:
        Columns over the proteins that count:

        - `sum_by_root`: Mean log-odds x square root of the number of proteins, at most `most_genes`.
        - `mean`: Mean log-odds, weighted by residues.
        - `one_strand`: 0 if both strands have equally many proteins, 1 if one strand has all.
        - `coding`: Proportion of the contig's bases in proteins, at most 1.
        - `log_residues`: Mean logarithm of the number of residues.

        Columns over all proteins: `genes` (their number), `residues` (their sum) and `genetic_code`.

    Examples:
        160 genes of 90 residues on one strand. The first number is 0.2 x root of 40, the fourth 160 x 270 / 54,000.

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
