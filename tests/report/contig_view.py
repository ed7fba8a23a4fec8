"""Helpers for tests of the figure of a contig: contigs to show, and measures of what is drawn."""

import random

from tests.report.browser import Page
from virnucpro.calling.result_files import encode
from virnucpro.report.drawn import composition

LEFT, RIGHT = 36, 14  # margins of the tracks, px
HOSTILE = """<script>window.hacked=1</script>"'&amp;\x01]]>"""
MINUS = "\N{MINUS SIGN}"
SVG = "{http://www.w3.org/2000/svg}"
ONE = [(100, 1000, "+", 6.928, "portal protein")]
Gene = tuple[int, int, str, float, str]


def genes_of(length: int, step: int = 900, seed: int = 1) -> list[Gene]:
    rng = random.Random(seed)
    names = ["", "", "portal protein", "terminase large subunit"]
    starts = range(100, length - 1000, step)
    return [(start, start + 800, rng.choice("+-"), round(rng.gauss(0, 3), 3), rng.choice(names)) for start in starts]


def letters_of(length: int, islands: list[tuple[int, int]] = [], seed: int = 1) -> bytes:  # noqa: B006
    """Return a sequence with 50 % GC, and 75 % in islands."""
    rng = random.Random(seed)
    letters = bytearray(rng.choices(b"ACGT", k=length))
    for start, end in islands:
        letters[start:end] = bytes(rng.choices(b"ACGGGCCC", k=end - start))
    return bytes(letters)


def show(
    page: Page,
    letters: bytes,
    genes: list[Gene],
    proviruses: list[tuple[int, int]] = [],  # noqa: B006
    name: str = "contig_1",
    circular: bool = False,
) -> None:
    """Open a contig of this sequence in place of the first; proviruses are their first and last bases."""
    lines = [f"x\tvirnucpro\tregion\t1\t{len(letters)}\t.\t.\t.\tIs_circular=true"] if circular else []
    for number, (start, end, strand, log_odds, product) in enumerate(genes):
        known = f"ID=gene_{number};partial=no;log_odds={log_odds}"
        known += f";product={encode(product)};function_score=0.99" if product else ""
        lines.append(f"x\tpyrodigal-gv\tCDS\t{start + 1}\t{end}\t0.5000\t{strand}\t0\t{known}")
    drawn = {"gff3": "\n".join(lines), "proviruses": [[*span, "tailed phage", "It is one."] for span in proviruses]}
    row = {"id": name, "length": len(letters), "genes": len(genes), "proviruses": len(proviruses)}
    page.run(
        "Object.assign(page.rows[0], arguments[0]); page.data.drawn[0] = arguments[1]; openContig(0)",
        row,
        drawn | composition(letters),
    )


def view(page: Page) -> tuple[int, int]:
    found = page.run("return page.view")
    return found["from"], found["to"]


def texts(page: Page) -> list[str]:
    return list(page.run("return [...document.querySelectorAll('#contig-plot text')].map(one => one.textContent)"))


def shapes(page: Page, name: str) -> list[dict[str, float]]:
    """Return the boxes of shapes of a class: left, right, top and bottom in px of the figure."""
    script = """const svg = document.querySelector("#contig-plot svg").getBoundingClientRect();
        return [...document.querySelectorAll(`#contig-plot .${arguments[0]}`)].map(one => {
          const { left, right, top, bottom } = one.getBoundingClientRect();
          return { left: left - svg.left, right: right - svg.left, top: top - svg.top, bottom: bottom - svg.top };
        });"""
    return list(page.run(script, name))


def width(page: Page) -> int:
    return int(page.run("return document.querySelector('#contig-plot').clientWidth"))


def place(page: Page, base: float) -> float:
    """Return where a position lies in the figure, px."""
    start, end = view(page)
    return LEFT + (base - start) / (end - start) * (width(page) - LEFT - RIGHT)


def attribute(page: Page, text: str, name: str) -> float:
    """Return a number that the first of these texts in the figure has."""
    script = "return [...document.querySelectorAll('#contig-plot text')].find(one => one.textContent === arguments[0])"
    return float(page.run(f"{script}.getAttribute(arguments[1])", text, name))


def height_of(page: Page, text: str) -> float:
    """Return where the line of an axis lies that has a text, px."""
    return attribute(page, text, "y") - 4


def drawn_gc(page: Page) -> list[tuple[float, float]]:
    """Return position and percent of the points of the curve, read from the figure alone."""
    points = page.run(
        "return [...document.querySelectorAll('#contig-plot .gc')].map(one => one.getAttribute('points'))"
    )
    found = [tuple(map(float, point.split(","))) for points in points for point in points.split()]
    low, high = page.run(
        """const after = [...document.querySelectorAll("#contig-plot text")];
        const first = after.findIndex(one => one.textContent.startsWith("GC,"));
        return after.slice(first + 1, first + 3).map(one => [+one.textContent, +one.getAttribute("y") - 4]);"""
    )
    per_pixel = (high[0] - low[0]) / (high[1] - low[1])
    start, end = view(page)
    scale = (end - start) / (width(page) - LEFT - RIGHT)
    return [(start + (x - LEFT) * scale, low[0] + (y - low[1]) * per_pixel) for x, y in found]
