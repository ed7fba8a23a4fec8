"""The open frames of a sample as a table, and what those of one contig say together.

A gene is longer than a chunk as often as not. So frames of neighbouring chunks that are read in one phase are taken as
one frame group, although the codon on the border, which no frame holds, may be a stop.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.fasta import read_fasta
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError


def read_frames(sample: Path) -> pd.DataFrame:
    """Return the frames of a sample as prepare wrote them, a row each, with these columns added.

    `residues`; `chunk`, its chunk's name; `frame_group`, a number; `group_residues`, of all frames of the group;
    `frames_in_chunk`, how many frames are open in its chunk; `relative_length`, its group's residues over those of the
    longest group in its chunk.

    Raises:
        UserError: the table and the proteins do not name the same frames.
    """
    path = sample / "prepared" / "frames.tsv"
    frames = read_table(path, "frame", "contig")
    residues = {name: len(protein) for name, protein in read_fasta(path.with_name("proteins.faa"), may_be_empty=True)}
    if frames["frame"].tolist() != list(residues):
        raise UserError(f"{path}: not the frames of proteins.faa beside it; run the prepare stage again")
    frames["residues"] = np.fromiter(residues.values(), np.int64, len(residues))
    frames["chunk"] = frames["frame"].str.slice(0, -2)  # less F1 to R3, a frame's name is its chunk's
    frames["frame_group"] = _frame_groups(frames)
    frames["group_residues"] = frames.groupby("frame_group")["residues"].transform("sum")
    by_chunk = frames.groupby("chunk", sort=False)
    frames["frames_in_chunk"] = by_chunk["frame"].transform("size")
    frames["relative_length"] = frames["group_residues"] / by_chunk["group_residues"].transform("max")
    return frames


def _frame_groups(frames: pd.DataFrame) -> npt.NDArray[np.int64]:
    forward = frames["strand"] == "+"
    phase = np.where(forward, frames["start"], frames["end"]).astype(np.int64) % 3
    chunk = frames["chunk"].str.extract(r"_(\d+)$")[0].astype(np.int64)
    order = np.lexsort((chunk, phase, forward, contig := frames["contig"].factorize()[0]))
    places = np.stack([contig, forward, phase, chunk])[:, order]
    goes_on = (np.diff(places) == [[0], [0], [0], [1]]).all(axis=0)
    groups = np.empty(len(frames), np.int64)
    groups[order] = np.cumsum(np.concatenate([[True], ~goes_on]))
    return groups


def group_means(embedding: npt.NDArray[np.float32], frames: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return the mean embedding over all residues of each frame's group, float32 [frames, embed_dim].

    Args:
        embedding: float32 [frames, embed_dim].
        frames: of `read_frames`, all those of their contigs.
    """
    weighted = pd.DataFrame(embedding * frames["residues"].to_numpy(np.float32)[:, None])
    total = weighted.groupby(frames["frame_group"].to_numpy()).transform("sum").to_numpy(np.float32)
    return np.asarray(total / frames["group_residues"].to_numpy(np.float32)[:, None])


def evidence_of_contigs(frames: pd.DataFrame, log_odds: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return a row a contig, in the order of the frames, with the contig as index.

    Columns: `total`, a list, the sums of the counted frames' log-odds by each expert; `counted`, their number; `frames`
    and `windows`, how many frames and in how many chunks; `residues` in them; `genetic_code`. Of a chunk
    the frames of its longest group count: the others are seldom translated.

    Args:
        frames: of `read_frames`.
        log_odds: float64 [frames, experts].
    """
    longest = (frames["relative_length"] == 1).to_numpy()
    by_contig = frames.groupby("contig", sort=False)
    total = pd.DataFrame(log_odds[longest]).groupby(frames["contig"].to_numpy()[longest], sort=False).sum()
    return pd.DataFrame(
        {
            "total": total.to_numpy().tolist(),
            "counted": pd.Series(longest).groupby(frames["contig"].to_numpy(), sort=False).sum(),
            "frames": by_contig.size(),
            "windows": by_contig["chunk"].nunique(),
            "residues": by_contig["residues"].sum(),
            "genetic_code": by_contig["genetic_code"].first(),
        }
    )
