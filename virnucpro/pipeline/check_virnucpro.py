"""check-virnucpro: the features and the scores of a run against those of the original VirNucPro."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from virnucpro.calling.features import Features
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

# What the original made of the two inputs that broadinstitute/virnucpro-broad tests with, by 500_model.pth.
REFERENCE = Path(__file__).parent.parent / "calling" / "virnucpro_reference.tsv"
TOLERANCES = {"dnabert_s": 5e-3, "esm2": 1e-3, "score": 1e-2}  # largest difference; see docs/from-virnucpro.md
WIDTHS = {"dnabert_s": 768, "esm2": 2560}


def check_virnucpro(work: Path, folder: Path) -> bool:
    """Compare features and scores of frames with the original's, log how much they differ, and return whether all pass.

    Args:
        work: folder of a sample below `work`, of a run with the preset virnucpro-500 and 500_model.pth over the
            original's inputs.
        folder: of its results.

    Raises:
        UserError: the folder holds none of the frames that are known.
    """
    table = read_proteins(work / "prepared", "protein")
    features = Features(folder, work, table["protein"].tolist(), with_nucleotides=True)
    scores = read_table(folder / "prediction_results.txt", "Sequence_ID", "Prediction").set_index("Sequence_ID")
    reference = read_table(REFERENCE, "frame").set_index("frame")
    known = np.flatnonzero(table["protein"].isin(reference.index))
    if not len(known):
        raise UserError(f"{folder}: none of its frames is known; the docs say which two files to run")
    names = table["protein"].iloc[known]
    wanted = reference.loc[names]
    rows = features.rows(known).astype(np.float64)
    if rows.shape[1] != sum(WIDTHS.values()):
        raise UserError(f"{folder}: {rows.shape[1]} numbers a frame, the original has {sum(WIDTHS.values())}")
    passed = True
    for part, values in zip(WIDTHS, np.split(rows, [WIDTHS["dnabert_s"]], axis=1), strict=True):
        differences = _summarise(part, values, wanted.columns) - wanted.filter(regex=f"^{part}_").to_numpy(np.float64)
        passed &= _say(part, differences, len(known))
    columns = ["score1", "score2"]
    differences = scores.loc[names, columns].to_numpy(np.float64) - wanted[columns].to_numpy(np.float64)
    return passed & _say("score", differences, len(known))


def _summarise(part: str, values: npt.NDArray[np.float64], columns: "pd.Index[str]") -> npt.NDArray[np.float64]:
    """Return the numbers of frames that the reference has of a model: some of its dimensions, and the norm of all."""
    named = [column.removeprefix(f"{part}_") for column in columns if column.startswith(f"{part}_")]
    norm = np.linalg.norm(values, axis=1)
    return np.column_stack([norm if name == "norm" else values[:, int(name)] for name in named])


def _say(part: str, differences: npt.NDArray[np.float64], frames: int) -> bool:
    largest, allowed = float(np.abs(differences).max()), TOLERANCES[part]
    text = "check: %s of %d frames: largest difference %.2g, allowed %.2g: %s"
    logger.info(text, part, frames, largest, allowed, "pass" if largest <= allowed else "FAIL")
    return largest <= allowed
