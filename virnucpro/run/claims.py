"""Claims on results: a run never overwrites a file that no run has claimed."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from virnucpro.data.files import write_text
from virnucpro.errors import UserError


def claim(results: Mapping[str, Sequence[Path]], memory: Path, force: bool = False, only_check: bool = False) -> None:
    """Claim the paths of results; refuse paths that exist and that no earlier run has claimed.

    Claims lie beside Snakemake's records. If the records are lost, so are the claims: without records Snakemake would
    take any file for up to date.

    Args:
        results: Paths of files and folders, by a stable name of the group.
        memory: JSON file with the claims of earlier runs.
        only_check: Check only, for a dry run.

    Raises:
        UserError: A file is in the way.
    """
    claimed: set[str] = set()
    with suppress(OSError, ValueError, TypeError):
        claimed = set(json.loads(memory.read_text(encoding="utf-8")))
    new = results.keys() - claimed
    in_the_way = [path for name in sorted(new) for path in results[name] if path.exists()]
    if in_the_way and not force:
        others = f" and {len(in_the_way) - 1:,} more" if len(in_the_way) > 1 else ""
        raise UserError(
            f"{in_the_way[0]}{others} would be overwritten, but {memory.parents[1].absolute()} does not know that "
            "a run from here made it. Move it away, start from the folder of the run that made it, or let virnucpro "
            "run --force overwrite it"
        )
    for path in in_the_way:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if new and not only_check:
        write_text(memory, json.dumps(sorted(claimed | new)))
