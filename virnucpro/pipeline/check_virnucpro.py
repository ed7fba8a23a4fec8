"""check-virnucpro: compare the features and scores of a run with the original VirNucPro."""

import logging
from pathlib import Path

import numpy as np

from virnucpro.calling.features import Features
from virnucpro.data.tables import read_table
from virnucpro.errors import UserError
from virnucpro.proteins.table import read_proteins

logger = logging.getLogger(__name__)

# The original's results for the two test inputs of broadinstitute/virnucpro-broad, with 500_model.pth.
REFERENCE = Path(__file__).parent.parent / "calling" / "virnucpro_reference.tsv"
TOLERANCES = {"dnabert_s": 5e-3, "esm2": 1e-3, "score": 1e-2}  # largest difference; see docs/from-virnucpro.md
WIDTHS = {"dnabert_s": 768, "esm2": 2560}


def check_virnucpro(work: Path, folder: Path) -> bool:
    """Compare features and scores of frames with the original's, log the differences, and return whether all pass.

    The run has the preset virnucpro-500, 500_model.pth and the original's test inputs.

    Args:
        work: Folder of the sample below `work`.
        folder: Folder of the sample's results.

    Raises:
        UserError: The results have no frame of the test inputs.
    """
    names = read_proteins(work / "prepared", "protein")["protein"]
    features = Features(folder, work, names.tolist(), with_nucleotides=True)
    scores = read_table(folder / "prediction_results.txt", "Sequence_ID", "Prediction").set_index("Sequence_ID")
    reference = read_table(REFERENCE, "frame").set_index("frame")
    known = names[names.isin(reference.index)]
    if known.empty:
        raise UserError(f"{folder}: no frames of the test inputs; docs/from-virnucpro.md names the two files to run")
    rows = features.rows(known.index.to_numpy()).astype(np.float64)
    if rows.shape[1] != sum(WIDTHS.values()):
        raise UserError(f"{folder}: {rows.shape[1]} numbers a frame, the original has {sum(WIDTHS.values())}")
    found = scores.loc[known]
    for part, values in zip(WIDTHS, np.split(rows, [WIDTHS["dnabert_s"]], axis=1), strict=True):
        for column in map(str, reference.filter(regex=f"^{part}_")):  # a few dimensions, and the norm
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
