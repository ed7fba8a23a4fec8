"""report: one page for people, with every contig of a run."""

import base64
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from virnucpro import __version__
from virnucpro.calling import CALLS, SENSITIVITIES
from virnucpro.calling.calls import NOT_CLEAR
from virnucpro.calling.requirements import VIRAL_FROM
from virnucpro.calling.share import DEFAULT_SHARE, FEWEST, FLOOR
from virnucpro.data.files import write_text
from virnucpro.data.provenance import Provenance, begin_writing, checked_input, read_provenance, write_provenance
from virnucpro.data.tables import read_table
from virnucpro.proteins.table import spans_of
from virnucpro.report import contigs as table
from virnucpro.report.drawn import draw
from virnucpro.report.methods import describe_methods, describe_settings, describe_versions
from virnucpro.report.page import render
from virnucpro.report.places import FEWEST_PLACED, choose_evenly, mean_embeddings, place

logger = logging.getLogger(__name__)

MOST_DRAWN = 500  # contigs whose genes the page holds
MOST_GENES = 20_000  # of all these
MOST_PLAIN = 100  # contigs that are there for readers without JavaScript, and on paper
SHOWN_LEFT_OUT = 5  # records named for each reason

OF_RUN = ("summary.tsv", "left_out.tsv", "packing.svg")
OF_SAMPLE = ("contigs.tsv", "genes.tsv", "genes.gff3", "regions.tsv", "regions.gff3")


def report(
    output_dir: Path,
    samples: Sequence[str],
    fastas: Sequence[Path],
    earlier: Sequence[str] = (),
    failed: Path | None = None,
) -> None:
    """Write report.html, a page with the calls of samples, into the run's folder with what summary and call wrote.

    The files are those of the samples, then of those whose calls belong to an earlier run. With a table of failed
    samples there is no record, so that the workflow writes the page again.

    Raises:
        UserError: a file is not what the stages before wrote.
    """
    output, work = output_dir / "report.html", output_dir / "work"
    record, inputs = work / "report.json", {}
    if not failed:
        inputs = {name: checked_input(output_dir / name, work / "summary.json", "summary") for name in OF_RUN}
    all_samples = [*samples, *earlier]
    for sample in all_samples:
        for name in OF_SAMPLE:
            path = output_dir / sample / name
            inputs[f"{sample}/{name}"] = checked_input(path, work / sample / "call.json", "call")
    begin_writing(record, [output])
    write_text(output, _page(output_dir, dict(zip(all_samples, fastas, strict=True)), earlier, failed))
    if not failed:
        write_provenance(record, "report", {"samples": list(samples), "earlier": list(earlier)}, inputs, [output])
    logger.info("report: %s", output)


def _page(output_dir: Path, fastas: Mapping[str, Path], earlier: Sequence[str], failed: Path | None) -> str:
    work = output_dir / "work"
    called = {sample: read_provenance(work / sample / "call.json", "call") for sample in fastas}
    merged = {sample: read_provenance(work / sample / "merge.json", "merge") for sample in fastas}
    rules = {sample: _rule(record) for sample, record in called.items()}
    counts: dict[str, dict[str, Any]] = {}
    judged: dict[str, int] = {}
    shown, viral = pd.DataFrame(), pd.DataFrame()
    for sample in fastas:  # of large runs no more is kept in memory than the page can show
        contigs = table.read_contigs(output_dir / sample / "contigs.tsv").assign(sample=sample)
        counts[sample] = table.count_calls(contigs)
        judged[sample] = int(contigs["judged"].sum())
        viral = pd.concat([viral, contigs.loc[contigs["call"] == "viral", ["length"]]])
        shown = table.likeliest(pd.concat([shown, contigs], ignore_index=True), table.MOST_ROWS)
    sums = {str(name): column.to_numpy().sum().item() for name, column in pd.DataFrame(counts.values()).items()}
    total = sums | table.describe_lengths(viral["length"])
    now = shown[~shown["sample"].isin(_changed_since(work, earlier))]
    drawn = draw(output_dir, fastas, _choose_drawn(now))
    places = _place(output_dir, now)
    unjudged = pd.Categorical(shown["reason"].where(~shown["judged"]))
    judged_here = shown.loc[shown["judged"], "sample"].value_counts()
    data = {
        "samples": [
            {"name": sample, "isWhole": bool(judged[sample] == judged_here.get(sample, 0))} | rule
            for sample, rule in rules.items()
        ],
        "estimation": {"floor": FLOOR, "fewest": FEWEST, "defaultShare": DEFAULT_SHARE},
        "notClear": NOT_CLEAR,
        "rows": table.page_columns(output_dir, shown.assign(unjudged=unjudged.codes), list(fastas)),
        "reasons": unjudged.categories.tolist(),
        "drawn": drawn,
        "map": places,
    }
    first, shares = next(iter(called.values())), [rule["share"] for rule in rules.values() if rule["share"]]
    measured = first.details["measured"]
    return render(
        data,
        version=__version__,
        calls=CALLS,
        samples=[{"sample": sample, "share": rules[sample]["share"]} | row for sample, row in counts.items()],
        total=total,
        shown=len(shown),
        drawn=len(drawn),
        rows=shown.head(MOST_PLAIN).to_dict("records"),
        shares=shares,
        sensitivities=SENSITIVITIES,
        limits=first.settings,
        measured=measured if measured.keys() >= {"kinds", "shares"} else {},
        places=places,
        left_out=_left_out(output_dir / "left_out.tsv"),
        summary=read_table(output_dir / "summary.tsv", "sample").to_dict("records"),
        packing=base64.b64encode((output_dir / "packing.svg").read_bytes()).decode(),
        earlier=list(earlier),
        failed=read_table(failed, "sample", "stage", "reason").to_dict("records") if failed else [],
        finished=max(record.details["finished"] for record in merged.values())[:10],
        methods=describe_methods(next(iter(merged.values())), first, shares, total),
        facts=describe_versions(merged, first),
        settings=describe_settings(next(iter(merged.values())), first),
    )


def _rule(called: Provenance) -> dict[str, Any]:
    """Return by what the contigs of a sample were called, from the record of its calls."""
    published = called.details["is_published"]
    return {
        "share": None if published else called.details["share"],
        "maxFdr": called.settings["max_fdr"],
        "viralFrom": VIRAL_FROM if published else None,
        "cellularTo": called.details["cellular_to"],
    }


def _changed_since(work: Path, earlier: Sequence[str]) -> list[str]:
    """Return the samples with calls that were made from other embeddings or another FASTA than there are now."""
    changed = []
    for sample in earlier:
        stages = ("call", "merge", "prepare")
        call, merge, prepare = (read_provenance(work / sample / f"{stage}.json", stage) for stage in stages)
        now = {"embeddings.h5": merge.outputs["embeddings.h5"], "fasta": prepare.inputs["fasta"]}
        if not now.items() <= call.inputs.items():
            changed.append(sample)
    return changed


def _choose_drawn(shown: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the contigs that are drawn: the likeliest viruses, those that hold proviruses, and others."""
    interest = (shown["call"] == "viral") * 2 + (shown["proviruses"] > 0)
    ordered = shown.loc[interest.sort_values(ascending=False, kind="stable").index].head(MOST_DRAWN)
    return ordered[ordered["genes"].cumsum() <= MOST_GENES]


def _place(output_dir: Path, shown: pd.DataFrame) -> dict[str, Any] | None:
    """Return the map: `rows`, numbers of rows of the page's table, `x` and `y` of each, `axes` and `method`."""
    chosen = choose_evenly(shown)
    if len(chosen) < FEWEST_PLACED:
        return None
    means: dict[Any, Any] = {}
    for sample, rows in chosen.groupby("sample"):
        folder = output_dir / str(sample)
        spans = spans_of(read_table(folder / "genes.tsv", "contig")["contig"])
        means |= mean_embeddings(folder / "embeddings.h5", {n: spans[name] for n, name in rows["contig"].items()})
    placed, axes, method = place(np.stack([means[number] for number in chosen.index]))
    x, y = placed.round(3).T.tolist()
    return {"rows": chosen.index.tolist(), "x": x, "y": y, "axes": axes, "method": method}


def _left_out(path: Path) -> list[dict[str, Any]]:
    missed = read_table(path, "sample", "record", "reason")
    return [
        {"reason": reason, "count": len(rows), "examples": rows["record"].head(SHOWN_LEFT_OUT).tolist()}
        for reason, rows in missed.groupby("reason")
    ]
