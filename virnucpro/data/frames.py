"""The open frames of a sample as a table, and what those of one contig say together."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.data.fasta import read_fasta
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError


def read_frames(sample: Path) -> pd.DataFrame:
    """Return the frames of a sample as prepare wrote them, with the `residues` of each.

    Raises:
        UserError: the table and the proteins do not name the same frames.
    """
    path = sample / "prepared" / "frames.tsv"
    frames = read_table(path, "frame", "contig")
    residues = {name: len(protein) for name, protein in read_fasta(path.with_name("proteins.faa"), may_be_empty=True)}
    if frames["frame"].tolist() != list(residues):
        raise UserError(f"{path}: not the frames of proteins.faa beside it; run the prepare stage again")
    frames["residues"] = np.fromiter(residues.values(), np.int64, len(residues))
    return frames


def evidence_of_contigs(frames: pd.DataFrame, log_odds: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return a row a contig, in the order of the frames, with the contig as index.

    Columns: `total`, the sums of its frames' log-odds in each view, a list; `frames` and `windows`, how many frames and
    in how many chunks; `residues` in them; `genetic_code`.

    Args:
        frames: of `read_frames`.
        log_odds: float64 [frames, views].
    """
    window = frames["frame"].str.slice(0, -2)  # less F1 to R3, a frame's name is its chunk's
    by_contig = frames.groupby("contig", sort=False)
    total = pd.DataFrame(log_odds, index=frames.index).groupby(frames["contig"], sort=False).sum()
    return pd.DataFrame(
        {
            "total": total.to_numpy().tolist(),
            "frames": by_contig.size(),
            "windows": window.groupby(frames["contig"], sort=False).nunique(),
            "residues": by_contig["residues"].sum(),
            "genetic_code": by_contig["genetic_code"].first(),
        }
    )
