"""The page of a run: one HTML file that holds all that it needs."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).with_name("page")
LIBRARIES = ("vendor/tabulator.min.js",)
SCRIPTS = ("data.js", "table.js", "plots.js", "browser.js", "contig.js", "page.js")
STYLES = ("vendor/tabulator.min.css", "report.css")


def render(blocks: Mapping[str, Any], **context: Any) -> str:
    """Return the page.

    `blocks` are JSON values for its scripts, by the ids of their elements. Texts of `context` are escaped.
    """
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"thousands": "{:,}".format, "percent": _percent, "interval": _interval}
    scripts = [*map(_read, LIBRARIES), "\n".join(map(_read, SCRIPTS))]
    return environment.get_template("report.html.j2").render(
        blocks={name: _pack(block) for name, block in blocks.items()},
        scripts=[{"text": Markup(text), "digest": _digest(text)} for text in scripts],  # noqa: S704 - our own files
        style=Markup("\n".join(map(_read, STYLES))),  # noqa: S704
        **context,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(measured: Mapping[str, float]) -> str:
    value, low, high = (100 * measured[end] for end in ("value", "low", "high"))
    return Markup("{:.1f} % <small>({:.1f} to {:.1f} %)</small>").format(value, low, high)


def _pack(data: Mapping[str, Any]) -> str:
    """Return data as gzip in base64: a third of JSON's size, and nothing in it can end a script's element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _digest(script: str) -> str:
    """Return the digest by which the page's policy allows a script: scripts that an id smuggles in do not run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8").replace("\r\n", "\n")  # as a browser reads it
