"""check-virnucpro: the features and the scores of a run against those of the original VirNucPro."""

import logging
from pathlib import Path

import numpy as np

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

    The folders are those of a sample of a run with the preset virnucpro-500 and 500_model.pth over the original's
    inputs: that below `work`, and that of its results.

    Raises:
        UserError: the folder holds none of the frames that are known.
    """
    names = read_proteins(work / "prepared", "protein")["protein"]
    features = Features(folder, work, names.tolist(), with_nucleotides=True)
    scores = read_table(folder / "prediction_results.txt", "Sequence_ID", "Prediction").set_index("Sequence_ID")
    reference = read_table(REFERENCE, "frame").set_index("frame")
    known = names[names.isin(reference.index)]
    if known.empty:
        raise UserError(f"{folder}: none of its frames is known; the docs say which two files to run")
    rows = features.rows(known.index.to_numpy()).astype(np.float64)
    if rows.shape[1] != sum(WIDTHS.values()):
        raise UserError(f"{folder}: {rows.shape[1]} numbers a frame, the original has {sum(WIDTHS.values())}")
    found = scores.loc[known]
    for part, values in zip(WIDTHS, np.split(rows, [WIDTHS["dnabert_s"]], axis=1), strict=True):
        for column in map(str, reference.filter(regex=f"^{part}_")):  # some dimensions of a model, and the norm of all
            name = column.removeprefix(f"{part}_")
            found[column] = np.linalg.norm(values, axis=1) if name == "norm" else values[:, int(name)]
    differences = (found[reference.columns] - reference.loc[known]).abs()
    passed = True
    for part, allowed in TOLERANCES.items():
        largest = differences.filter(regex=f"^{part}").to_numpy().max()
        text = "check: %s of %d frames: largest difference %.2g, allowed %.2g: %s"
        logger.info(text, part, len(known), largest, allowed, "pass" if largest <= allowed else "FAIL")
        passed &= bool(largest <= allowed)
    return passed
