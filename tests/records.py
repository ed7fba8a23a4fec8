"""Records of stages that a test leaves out."""

from pathlib import Path

import pandas as pd

from virnucpro.calling.screen import NOTHING, SCREENED
from virnucpro.data.provenance import write_provenance
from virnucpro.data.tables import write_table


def record_embeddings(folder: Path, encoder: str = "", screened: "pd.Series[float]" = NOTHING) -> None:
    """Write the records of pack and merge beside a file with the embeddings of proteins that were not screened out."""
    write_table(screened.reset_index(), folder / SCREENED)
    write_provenance(folder / "pack.json", "pack", {}, {}, [folder / SCREENED])
    write_provenance(folder / f"merge{encoder}.json", "merge", {}, {}, [folder / f"embeddings{encoder}.h5"])
