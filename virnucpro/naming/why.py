"""The reason of a call in one sentence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from virnucpro.calling import LENGTHS
from virnucpro.data.arrays import Floats

CLEAR = 1.0  # a gene speaks for a virus from these log-odds on, for a cell from minus these
NAMED = 4  # most functions in a sentence


def genes_speak(log_odds: Floats) -> str:
    """Return the clause on the number of genes that speak for a virus, and for a cell.

    Examples:
        >>> import numpy as np
        >>> genes_speak(np.array([2.0, 3.1, 0.2, -4.0]))
        '2 of 4 genes speak for a virus, 1 for a cell'
        >>> genes_speak(np.array([0.2]))
        '1 gene, not clear'
    """
    count = len(log_odds)
    genes = "1 gene" if count == 1 else f"{count} genes"
    viral, cellular = int((log_odds >= CLEAR).sum()), int((log_odds <= -CLEAR).sum())
    if not count:
        return "no gene"
    if not viral + cellular:
        return f"{genes}, {'not clear' if count == 1 else 'none clear'}"
    speaking = viral or cellular
    of = "the only gene speaks" if count == 1 else f"{speaking} of {genes} speak{'s' if speaking == 1 else ''}"
    return f"{of} for a {'virus' if viral else 'cell'}" + (f", {cellular} for a cell" if viral and cellular else "")


def functions_named(functions: Sequence[str], hallmarks: Sequence[str]) -> str:
    """Return the clause on functions of genes, hallmarks of viruses first; empty without any.

    Examples:
        >>> functions_named(["holin", "portal protein", "", "holin"], ["portal protein"])
        'portal protein and holin named'
    """
    counts = Counter(name for name in functions if name and name != "cellular")
    names = sorted(counts, key=lambda name: (name not in hallmarks, -counts[name], name))
    if not names:
        return ""
    shown = names[:NAMED] + ([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])
    return (", ".join(shown[:-1]) + " and " if len(shown) > 1 else "") + f"{shown[-1]} named"


def closest_known(name: str, share: float) -> str:
    """Return the clause on the closest known virus; empty without one."""
    return f"closest known: {name} ({100 * share:.0f} % of the proteins' k-mers shared)" if name else ""


def what_is_found(measured: Mapping[str, Any], length: int, call: str) -> str:
    """Return the clause on error rates for contigs of this length; empty if they were not measured.

    Args:
        measured: `measured` in the record of call: the sets of contigs that the classifier was evaluated on.
    """
    name = next((name for name, start in reversed(LENGTHS.items()) if length >= start), "")
    of_length = measured.get(f"test, {name}") or measured.get(f"cross-validation, {name}")
    if not of_length:
        return ""
    found, false, lost = (of_length[key]["value"] for key in ("found", "false", "lost"))
    viruses = f"viruses {name if name.startswith('from') else f'of {name}'}"
    if call == "viral":
        others = f"{100 * false:.1f} % of other contigs are called viral"
        return f"{100 * found:.0f} % of {viruses} are found, and {others}"
    if call == "cellular":
        return f"{100 * lost:.1f} % of {viruses} are called cellular"
    return f"{100 * (1 - found):.0f} % of {viruses} are not found"


def explain(
    log_odds: Floats,
    functions: Sequence[str],
    hallmarks: Sequence[str],
    closest: str,
    share: float,
    call: str,
    reason: str,
    length: int,
    measured: Mapping[str, Any],
) -> str:
    """Return the reason of the call of a contig or provirus, in one sentence.

    Args:
        log_odds: Log-odds of its genes, float64 [genes].
        functions: Functions of its genes, empty if not known.
        hallmarks: Functions that only viruses have.
        closest, share: Name of the closest known virus, empty without one, and the share of k-mers in common.
        call, reason, length: Columns of the table of calls; the call of a provirus is empty.
        measured: Argument of `what_is_found`.
    """
    found = what_is_found(measured, length, call) if call else ""
    against = reason and f"not called: {reason}"
    named = functions_named(functions, hallmarks)
    return sentence(genes_speak(log_odds), named, closest_known(closest, share), against, found)


def sentence(*clauses: str) -> str:
    """Join clauses to a sentence; empty clauses are left out."""
    text = "; ".join(filter(None, clauses))
    return text[:1].upper() + text[1:] + "." if text else ""
