"""What the frames of one contig tell together.

A gene is longer than a chunk as often as not. So frames of neighbouring chunks that are read in one phase are taken as
one group, although the codon on the border, which no frame holds, may be a stop.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd


def describe_groups(proteins: pd.DataFrame) -> pd.DataFrame:
    """Return a table of proteins with what the groups of linked frames add to each.

    These columns are added: `group_residues`, of all frames of its group; `frames_in_chunk`, how many are open in its
    chunk; `relative_length`, its group's residues over those of the longest group in its chunk.

    Args:
        proteins: the table of a sample's proteins, all of them open frames.
    """
    by_chunk = proteins.groupby(["contig", "chunk"], sort=False)
    group_residues = proteins.groupby("group")["residues"].transform("sum")
    longest = group_residues.groupby([proteins["contig"], proteins["chunk"]], sort=False).transform("max")
    return proteins.assign(
        group_residues=group_residues,
        frames_in_chunk=by_chunk["protein"].transform("size"),
        relative_length=group_residues / longest,
    )


def group_means(embedding: npt.NDArray[np.float32], frames: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return the mean embedding over all residues of each frame's group, float32 [frames, embed_dim].

    Args:
        embedding: float32 [frames, embed_dim].
        frames: of `describe_groups`, all those of their contigs.
    """
    weighted = pd.DataFrame(embedding * frames["residues"].to_numpy(np.float32)[:, None])
    total = weighted.groupby(frames["group"].to_numpy()).transform("sum").to_numpy(np.float32)
    return np.asarray(total / frames["group_residues"].to_numpy(np.float32)[:, None])


def evidence_of_contigs(frames: pd.DataFrame, log_odds: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return a row a contig, in the order of the frames, with the contig as index.

    Columns: `total`, a list, the sums of the counted frames' log-odds by each expert; `counted`, their number; `frames`
    and `chunks`, how many frames and in how many chunks; `residues` in them; `genetic_code`. Of a chunk
    the frames of its longest group count: the others are seldom translated.

    Args:
        frames: of `describe_groups`.
        log_odds: float64 [frames, experts].
    """
    longest = (frames["relative_length"] == 1).to_numpy()
    by_contig = frames.groupby("contig", sort=False)
    chunks = frames.drop_duplicates(["contig", "chunk"]).groupby("contig", sort=False).size()
    total = pd.DataFrame(log_odds[longest]).groupby(frames["contig"].to_numpy()[longest], sort=False).sum()
    return pd.DataFrame(
        {
            "total": total.to_numpy().tolist(),
            "counted": pd.Series(longest).groupby(frames["contig"].to_numpy(), sort=False).sum(),
            "frames": by_contig.size(),
            "chunks": chunks,
            "residues": by_contig["residues"].sum(),
            "genetic_code": by_contig["genetic_code"].first(),
        }
    )
