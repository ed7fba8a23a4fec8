"""Why jobs would run, as a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from virnucpro.run.plan import Plan
from virnucpro.run.snakemake import Event

_WORDS = {"it has not finished": "not made yet", "": "what it reads is new"}


def table_of_jobs(plan: Plan, jobs: Iterable[Event]) -> str:
    """Return how many jobs of which stage would run, and why, as a table.

    Args:
        plan: of the run.
        jobs: events that announce them.
    """
    stages: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        stages[job["rule_name"]][_why(plan, job)] += 1
    rows = [("stage", "jobs", "why")]
    for name, whys in stages.items():
        told = [why if len(whys) == 1 else f"{why} ({count:,})" for why, count in whys.most_common()]
        rows.append((name.replace("_", " "), f"{whys.total():,}", "; ".join(told)))
    width, digits = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "".join(f"{name:{width}}  {count:>{digits}}  {why}\n" for name, count, why in rows)


def _why(plan: Plan, job: Event) -> str:
    place = [job["rule_name"], *(job["wildcards"].get(name, "") for name in ("sample", "shard"))]
    is_planned = not place[1] or place[1] in plan.samples
    if is_planned and plan.must_run(*place):
        reason = plan.reason(*place)
        return _WORDS.get(reason, reason)
    return str(job["reason"]).partition(":")[0].lower()  # Snakemake alone asks for it
