"""A run as MultiQC shows it: columns of its general statistics, and a bar graph of the calls."""

import json
from typing import Any

import pandas as pd

CALLS = {"viral": "#d55e00", "cellular": "#0072b2", "unresolved": "#999999"}
_COUNT = {"format": "{:,.0f}", "min": 0}
_SHARE = {"format": "{:.1%}", "min": 0, "max": 1}
_COLUMNS: dict[str, dict[str, Any]] = {
    "viral": _COUNT | {"title": "viral", "description": "contigs called viral", "scale": "Oranges"},
    "called_viral": _SHARE | {"title": "called viral", "description": "proportion of contigs called viral"},
    "viral_share": _SHARE | {"title": "viral share", "description": "estimated proportion of viral contigs"},
    "proviruses": _COUNT | {"title": "proviruses", "description": "in contigs that are not called viral"},
    "viral_bases": _COUNT | {"title": "viral bases", "description": "of viral contigs and proviruses"},
    "records": _COUNT | {"title": "records", "description": "contigs or proteins in the FASTA"},
    "proteins": _COUNT | {"title": "proteins", "description": "embedded proteins", "hidden": True},
    "packing_efficiency": _SHARE | {"title": "packed", "description": "proportion of bins filled", "hidden": True},
}


def describe_for_multiqc(summary: pd.DataFrame) -> dict[str, str]:
    """Return the files that MultiQC finds by their names (https://docs.seqera.io/multiqc/custom_content).

    They are TSV, since MultiQC shortens the names of samples in JSON: `a` and `a.sorted` would become one. Columns
    without values are there too: MultiQC takes the columns of several runs from the last file that it reads.

    Args:
        summary: the table of summary.tsv; a sample that was not called has no counts of calls.
    """
    table = summary.set_index("sample").reindex(columns=list(_COLUMNS.keys() | CALLS.keys()))
    table["called_viral"] = (table["viral"] / table["records"]).astype(float).round(4)
    statistics = {"id": "virnucpro_stats", "plot_type": "generalstats", "headers": _COLUMNS}
    files = {"virnucpro_stats_mqc.tsv": _as_tsv(statistics, table[list(_COLUMNS)])}
    called = table[table["viral"].notna()]
    if len(called):
        graph = {
            "id": "virnucpro",
            "section_name": "virnucpro",
            "description": "Contigs by their calls; report.html of each run has every contig.",
            "plot_type": "bargraph",
            "pconfig": {"id": "virnucpro_calls", "title": "virnucpro: calls", "ylab": "contigs"},
            "categories": {call: {"name": call, "color": color} for call, color in CALLS.items()},
        }
        files["virnucpro_mqc.tsv"] = _as_tsv(graph, called[list(CALLS)])
    return files


def _as_tsv(config: dict[str, Any], table: pd.DataFrame) -> str:
    """Return a table with MultiQC's configuration in a comment."""
    return f"# {json.dumps(config)}\n" + table.to_csv(sep="\t", index_label="sample")
