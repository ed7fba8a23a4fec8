"""Why jobs run, in fewer words than Snakemake's."""

from collections import Counter, defaultdict
from collections.abc import Iterable

NOT_MADE = "not made yet"
FOLLOWS = "what it reads is made again"

# By the beginning of what Snakemake says, in the order of what explains most.
_REASONS = {
    "Forced execution": "asked for",
    "Params have changed": "settings have changed",
    "Code has changed": "another version of the workflow",
    "Set of input files has changed": "other files to read",
    "Updated input files": "what it reads has changed",
    "Missing output files": NOT_MADE,
    "Incomplete output files": "it was interrupted",
    "Input files updated by another job": FOLLOWS,
}


def explain(reason: str) -> str:
    """Return a reason as Snakemake gives it in a few words."""
    given = reason.split("; ")
    return next((words for start, words in _REASONS.items() for part in given if part.startswith(start)), reason)


def table_of_jobs(jobs: Iterable[tuple[str, str]]) -> str:
    """Return how many jobs of which rule would run, and why, as a table.

    Args:
        jobs: rule and reason of each.
    """
    rules: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for rule, reason in jobs:
        rules[rule][explain(reason)] += 1
    rows = [("stage", "jobs", "why")]
    for rule, whys in rules.items():
        told = [why if len(whys) == 1 else f"{count} {why}" for why, count in whys.most_common()]
        rows.append((rule.replace("_", " "), str(whys.total()), "; ".join(told)))
    width, digits = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "".join(f"{rule:{width}}  {count:>{digits}}  {why}\n" for rule, count, why in rows)
