"""A run as MultiQC shows it: columns of its general statistics, and a bar graph of the calls."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

CALLS = {"viral": "#d55e00", "cellular": "#0072b2", "unresolved": "#999999"}
_COLUMNS = {
    "viral": {"title": "viral", "description": "contigs called viral", "format": "{:,.0f}", "scale": "Oranges"},
    "viral_share": {
        "title": "viral share",
        "description": "share of viral contigs, from which the calls follow",
        "format": "{:.1%}",
        "max": 1,
    },
    "records": {"title": "records", "description": "contigs or proteins of the file", "format": "{:,.0f}"},
    "proteins": {"title": "proteins", "description": "that were embedded", "format": "{:,.0f}", "hidden": True},
    "packing_efficiency": {
        "title": "packed",
        "description": "share of the bins that tokens fill",
        "format": "{:.1%}",
        "max": 1,
        "hidden": True,
    },
}


def describe_for_multiqc(summary: pd.DataFrame, called: Sequence[str]) -> dict[str, str]:
    """Return the files that MultiQC finds by their names, as it reads them (https://docs.seqera.io/multiqc/custom_content).

    `summary` is the table of summary.tsv. Without samples whose contigs were called there is no graph.
    """
    by_sample = summary.set_index("sample")
    columns = {name: column for name, column in _COLUMNS.items() if name in by_sample}
    values = _values(by_sample, list(columns))
    statistics = {"id": "virnucpro_stats", "plot_type": "generalstats", "headers": columns, "data": values}
    files = {"virnucpro_stats_mqc.json": statistics}
    if called:
        files["virnucpro_mqc.json"] = {
            "id": "virnucpro",
            "section_name": "virnucpro",
            "description": "Contigs by their calls; report.html beside this run's tables has every contig.",
            "plot_type": "bargraph",
            "pconfig": {"id": "virnucpro_calls", "title": "virnucpro: calls", "ylab": "contigs"},
            "categories": {call: {"name": call, "color": colour} for call, colour in CALLS.items()},
            "data": _values(by_sample.loc[list(called)], list(CALLS)),
        }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in files.items()}


def _values(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the numbers of each sample, without those that it lacks."""
    rows = json.loads(table[list(columns)].to_json(orient="index"))
    return {sample: {name: value for name, value in row.items() if value is not None} for sample, row in rows.items()}
