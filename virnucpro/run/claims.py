"""Results that a run claims: it never overwrites a file that it did not make."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from virnucpro.data.files import write_text
from virnucpro.errors import UserError


def claim(results: Mapping[str, Sequence[Path]], memory: Path, force: bool = False, only_check: bool = False) -> None:
    """Claim the paths of results; refuse them where something lies in the way that no earlier run has claimed.

    Claims lie beside Snakemake's records: without these it would take any result for up to date.

    Args:
        results: paths of files and folders that belong together, by a name that stays the same.
        memory: JSON file with the claims of earlier runs.
        force: delete what is in the way.
        only_check: claim nothing: a dry run is no run.

    Raises:
        UserError: something is in the way.
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
            "a run from here made it; move it away, start from the folder of the run that made it, or let virnucpro "
            "run --force overwrite it"
        )
    for path in in_the_way:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if new and not only_check:
        write_text(memory, json.dumps(sorted(claimed | new)))
