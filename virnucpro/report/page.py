"""The page of a run: one HTML file that holds all that it needs."""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).with_name("page")
LIBRARIES = ("vendor/echarts.min.js", "vendor/tabulator.min.js")
SCRIPTS = ("data.js", "table.js", "plots.js", "browser.js", "contig.js", "page.js")
STYLES = ("vendor/tabulator.min.css", "report.css")


def render(data: Mapping[str, Any], **context: Any) -> str:
    """Return the page: `data` is what its scripts read, as JSON has it; of `context` every text is escaped."""
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"thousands": "{:,}".format, "percent": _percent, "interval": _interval, "fixed": _fixed}
    scripts = [*map(_read, LIBRARIES), "\n".join(map(_read, SCRIPTS))]
    return environment.get_template("report.html.j2").render(
        data=_pack(data),
        scripts=[{"text": Markup(text), "digest": _digest(text)} for text in scripts],  # noqa: S704 - our own files
        style=Markup("\n".join(map(_read, STYLES))),  # noqa: S704
        **context,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _fixed(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _interval(measured: Mapping[str, float]) -> str:
    value, low, high = (100 * measured[end] for end in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f} %)"


def _pack(data: Mapping[str, Any]) -> str:
    """Return data as gzip in base64: a third of JSON's size, and nothing in it can end a script's element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _digest(script: str) -> str:
    """Return what the page's policy calls a script that may run; so no other can, whatever an id smuggles in."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8").replace("\r\n", "\n")  # as a browser reads it
