"""Content of the page of a run, from its results."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from virnucpro import __version__
from virnucpro.calling import CALLS, LENGTHS, SENSITIVITIES
from virnucpro.calling.calls import NOT_CLEAR
from virnucpro.calling.requirements import VIRAL_FROM
from virnucpro.calling.share import DEFAULT_SHARE, FEWEST, FLOOR
from virnucpro.data.provenance import Provenance, read_provenance
from virnucpro.data.tables import read_table
from virnucpro.proteins import WITHOUT_SEQUENCE
from virnucpro.report import contigs as table
from virnucpro.report.drawn import draw
from virnucpro.report.methods import describe_methods, describe_settings, describe_versions
from virnucpro.report.page import render

MOST_DRAWN = 500  # contigs whose genes the page holds
MOST_GENES = 20_000  # of all these
MOST_PLAIN = 100  # viruses that are listed without JavaScript
SHOWN_LEFT_OUT = 5  # records named for each reason


def page_of_run(output_dir: Path, fastas: Mapping[str, Path], earlier: Sequence[str], failed: Path | None) -> str:
    """Return the page of a run as HTML.

    Args:
        output_dir: Folder of the run, with the files of summary and call.
        fastas: Contigs of each sample, by its name.
        earlier: Samples with calls of an earlier run.
        failed: Table of failed samples.
    """
    work = output_dir / "work"
    called = {sample: read_provenance(work / sample / "call.json", "call") for sample in fastas}
    merged = {sample: read_provenance(work / sample / "merge.json", "merge") for sample in fastas}
    rules = {sample: _rule(record) for sample, record in called.items()}
    counts: dict[str, dict[str, Any]] = {}
    judged: dict[str, int] = {}
    shown, viral = pd.DataFrame(), pd.DataFrame()
    for sample in fastas:  # one by one, to keep only contigs that the page can show
        contigs = table.read_contigs(output_dir / sample / "contigs.tsv").assign(sample=sample)
        counts[sample] = table.count_calls(contigs)
        judged[sample] = int(contigs["judged"].sum())
        viral = pd.concat([viral, contigs.loc[contigs["call"] == "viral", ["length"]]])
        shown = table.likeliest(pd.concat([shown, contigs], ignore_index=True), table.MOST_ROWS)
    regions = pd.concat([table.read_regions(output_dir / sample / "regions.tsv", sample) for sample in fastas])
    proviruses = regions[regions["topology"] == "provirus"]
    sums = {str(name): column.to_numpy().sum().item() for name, column in pd.DataFrame(counts.values()).items()}
    total = sums | table.describe_lengths(viral["length"])
    now = shown[~shown["sample"].isin(_changed_since(work, earlier))]
    known = {
        name: None if called[name].details["genes"] in WITHOUT_SEQUENCE else fasta for name, fasta in fastas.items()
    }
    drawn = draw(output_dir, known, _choose_drawn(now))
    pooled = [name for name, fasta in known.items() if fasta and name not in earlier]  # samples in viral.fasta.gz
    unjudged = pd.Categorical(shown["reason"].where(~shown["judged"]))
    judged_here = shown.loc[shown["judged"], "sample"].value_counts()
    names = pd.MultiIndex.from_frame(shown[["sample", "contig"]])
    data = {
        "samples": [
            {"name": sample, "isPooled": sample in pooled}
            | {"isWhole": bool(judged[sample] == judged_here.get(sample, 0))}
            | rule
            for sample, rule in rules.items()
        ],
        "estimation": {"floor": FLOOR, "fewest": FEWEST, "defaultShare": DEFAULT_SHARE},
        "notClear": NOT_CLEAR,
        "rows": table.page_columns(output_dir, shown.assign(unjudged=unjudged.codes), list(fastas)),
        "reasons": unjudged.categories.tolist(),
        "columns": table.VIRAL_COLUMNS,
        "proviruses": proviruses.to_numpy().tolist(),
        "hosts": names.get_indexer(pd.MultiIndex.from_frame(proviruses[["sample", "contig"]])).tolist(),
        "drawn": drawn,
    }
    is_pooled = regions["sample"].isin(pooled).any()
    sequences = table.read_sequences(output_dir / "viral.fasta.gz") if is_pooled else {}
    first, shares = next(iter(called.values())), [rule["share"] for rule in rules.values() if rule["share"]]
    measured = first.details["measured"]
    return render(
        {"data": data, "sequences": sequences},
        version=__version__,
        headline=_headline(total, len(fastas), bool(shares)),
        calls=CALLS,
        samples=[{"sample": sample, "share": rules[sample]["share"]} | row for sample, row in counts.items()],
        total=total,
        shown=len(shown),
        has_sequences=bool(sequences) or not is_pooled,
        rows=regions.sort_values("score", ascending=False, kind="stable").head(MOST_PLAIN).to_dict("records"),
        shares=shares,
        sensitivities=SENSITIVITIES,
        limits=first.settings,
        measured=measured if measured.keys() >= {"kinds", "shares"} else {},
        reached=_reached(measured, total),
        left_out=_left_out(output_dir / "left_out.tsv"),
        summary=read_table(output_dir / "summary.tsv", "sample").to_dict("records"),
        packing=base64.b64encode((output_dir / "packing.svg").read_bytes()).decode(),
        earlier=list(earlier),
        failed=read_table(failed, "sample", "stage", "reason").to_dict("records") if failed else [],
        methods=describe_methods(next(iter(merged.values())), list(called.values()), shares, total),
        facts=describe_versions(merged, first),
        settings=describe_settings(next(iter(merged.values())), first),
    )


def _headline(total: Mapping[str, Any], samples: int, is_rated: bool) -> str:
    """Return the number of viruses, and the expected number of false ones, in words."""
    viral, false, proviruses = (total[name] for name in ("viral", "expected_false", "proviruses"))
    text = f"{viral:,} viral contig{'s' if viral != 1 else ''}"
    if is_rated and viral:
        text += f", {f'{false:,.0f}' if false >= 0.5 else 'fewer than 1'} of them expected to be false,"
    text += f" and {proviruses:,} provirus{'es' if proviruses != 1 else ''}"
    return f"{text} in {samples:,} sample{'s' if samples > 1 else ''}"


def _reached(measured: Mapping[str, Any], total: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the evaluation of the classifier for the lengths of this run's contigs and for all lengths, row by set."""
    classes = {name: (f", {name}", total[name]) for name in LENGTHS if total[name]}
    classes["all"] = ("", total["contigs"])
    return [
        {"length": length, "contigs": contigs, "set": name, "measured": measured[name + suffix]}
        for length, (suffix, contigs) in classes.items()
        for name in ("cross-validation", "test")
        if name + suffix in measured
    ]


def _rule(called: Provenance) -> dict[str, Any]:
    """Return the rule by which the contigs of a sample were called, from the record of its calls."""
    published = called.details["is_published"]
    return {
        "share": None if published else called.details["share"],
        "maxFdr": called.settings["max_fdr"],
        "viralFrom": VIRAL_FROM if published else None,
        "cellularTo": called.details["cellular_to"],
    }


def _changed_since(work: Path, earlier: Sequence[str]) -> list[str]:
    """Return the samples whose FASTA has changed since the call."""
    changed = []
    for sample in earlier:
        call, prepare = (read_provenance(work / sample / f"{stage}.json", stage) for stage in ("call", "prepare"))
        if call.inputs["fasta"] != prepare.inputs["fasta"]:
            changed.append(sample)
    return changed


def _choose_drawn(shown: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the contigs that are drawn: likeliest viruses, contigs with proviruses, and others."""
    interest = (shown["call"] == "viral") * 2 + (shown["proviruses"] > 0)
    ordered = shown.loc[interest.sort_values(ascending=False, kind="stable").index].head(MOST_DRAWN)
    return ordered[ordered["genes"].cumsum() <= MOST_GENES]


def _left_out(path: Path) -> list[dict[str, Any]]:
    missed = read_table(path, "sample", "record", "reason")
    return [
        {"reason": reason, "count": len(rows), "examples": rows["record"].head(SHOWN_LEFT_OUT).tolist()}
        for reason, rows in missed.groupby("reason")
    ]
