"""The working folder of a dry run, which does not change the results."""

import os
import shutil
from pathlib import Path

from virnucpro.errors import UserError


def place_dry_run(work: Path, temporary: Path) -> Path:
    """Return the folder for a dry run: `work` of the results, or a temporary one if Snakemake may not write there.

    Snakemake writes below its working folder, also in a dry run. Results of another user are linked into
    TEMPORARY/results/work, with the times of the files.

    Args:
        work: Working folder of the run itself.
        temporary: Folder that is used if `work` has no records of Snakemake, so that a dry run creates none there.

    Raises:
        UserError: The user may not read Snakemake's records, which only the owner's group can read by default.
    """
    records = work / ".snakemake"
    if not records.exists():
        return temporary
    if os.access(records, os.W_OK):
        return work
    if not all(os.access(path, os.R_OK) for path in records.glob("metadata/*")):
        raise UserError(
            f"{records}: you may not read the records of that run; its owner can type chmod -R a+rX {records}"
        )
    shown = temporary / "results" / "work"
    memory = shown / ".snakemake"
    shutil.copytree(records / "virnucpro", memory / "virnucpro")
    _link([path for path in work.parent.iterdir() if path != work], shown.parent)
    _link([path for path in work.iterdir() if path != records], shown)
    _link([path for path in (records / "metadata", records / "incomplete") if path.exists()], memory)
    return shown


def _link(paths: list[Path], folder: Path) -> None:
    for path in paths:
        link, state = folder / path.name, path.stat()
        link.symlink_to(path)
        os.utime(link, ns=(state.st_atime_ns, state.st_mtime_ns), follow_symlinks=False)
