// The figure of a contig as SVG: tracks of its proviruses, genes, log-odds and GC. One function draws it for the screen
// and for files. Positions are bases from 0, half-open; what a reader sees counts from 1.

const contigFigure = (() => { // its names are its own: all scripts of the page are one
const FONT = "Helvetica, Arial, sans-serif", SIZE = 11, LINE = 14; // px
const LEFT = 36, RIGHT = 14; // margins of the tracks, px
const LABEL_LINES = 4, LONGEST = 200; // of labels: lines on each side of a track, and px
const ARROW = 18, BARS = 110, CURVE = 60; // heights of a row of genes, of the log-odds and of GC, px
const LIMIT = 6; // log-odds at the ends of the axis and of the colors
const FEWEST_PIXELS = 2.5; // a gene in view must have on average to be drawn as an arrow
const COLUMN = 2, STEP = 5; // px of a mean over genes, and between two points of GC

const escapeXml = text => String(text)
  .replace(/[^\t\n\r -\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd")
  .replace(/[&<>"'\n]/g, letter => `&#${letter.charCodeAt(0)};`);
const short = value => (typeof value === "number" ? Math.round(value * 100) / 100 : value);
function tag(name, attributes, inside = "") {
  const pairs = Object.entries(attributes).filter(([, value]) => value !== undefined);
  return `<${name}${pairs.map(([key, value]) => ` ${key}="${escapeXml(short(value))}"`).join("")}>${inside}</${name}>`;
}
const rect = (x, y, width, height, fill, more) => tag("rect", { x, y, width, height, fill, ...more });
const line = (x1, y1, x2, y2, stroke, more) => tag("line", { x1, y1, x2, y2, stroke, ...more });
const write = (x, y, text, fill, more) => tag("text", { x, y, fill, ...more }, escapeXml(text));

const pen = document.createElement("canvas").getContext("2d");
function widthOf(text, font = `${SIZE}px ${FONT}`) {
  pen.font = font;
  return pen.measureText(text).width;
}
function cut(text, longest, font) {
  let letters = [...text];
  if (widthOf(text, font) <= longest) return text;
  while (letters.length && widthOf(`${letters.join("")}…`, font) > longest) letters = letters.slice(0, -1);
  return `${letters.join("")}…`;
}

// The largest of 1, 2 and 5 times a power of ten that is not over a value.
function roundDown(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [5, 2, 1].find(one => one * power <= value * (1 + 1e-9));
}
// A multiple of a step, in the unit that suits a size.
function withUnit(bases, step, size) {
  const [unit, name] = size >= 1e6 ? [1e6, "Mb"] : size >= 1e3 ? [1e3, "kb"] : [1, "bp"];
  const digits = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
  return `${(bases / unit).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${name}`;
}

// Spans as far as they are in view. A circle has turns: what lies over its origin is in view at both of its ends.
function inView(spans, { contig, view }) {
  const turns = contig.circular ? [-contig.length, 0, contig.length] : [0];
  return turns.flatMap(turn => spans.flatMap(span => {
    const start = Math.max(span.start + turn, view.from), end = Math.min(span.end + turn, view.to);
    return start < end ? [{ ...span, start, end, turn, isCut: [start > span.start + turn, end < span.end + turn] }] : [];
  }));
}

// Returns the color of log-odds: from cellular over the middle to viral.
function ramp({ cellular, middle, viral }) {
  const [low, zero, high] = [cellular, middle, viral].map(color => color.match(/[\d.]+/g).map(Number));
  return logOdds => {
    const part = Math.max(-1, Math.min(1, logOdds / LIMIT)), end = part < 0 ? low : high;
    return `rgb(${[0, 1, 2].map(at => Math.round(zero[at] + Math.abs(part) * (end[at] - zero[at]))).join(",")})`;
  };
}

// Mean log-odds of genes in columns of as many bases, weighted by the bases of each gene in a column.
function meanColumns(genes, size) {
  const columns = new Map();
  for (const gene of genes) {
    for (let at = Math.floor(gene.start / size); at * size < gene.end; at++) {
      if (!columns.has(at)) columns.set(at, { start: at * size, end: (at + 1) * size, bases: 0, sum: 0, genes: 0 });
      const column = columns.get(at), bases = Math.min(gene.end, column.end) - Math.max(gene.start, column.start);
      column.bases += bases;
      column.sum += bases * gene.logOdds;
      column.genes++;
    }
  }
  return [...columns.values()].map(column => ({ ...column, logOdds: column.sum / column.bases }));
}

// Percent of G and C among known bases, in as many windows of the data at once as a point of the curve covers.
function gcColumns(contig, perPixel) {
  const { window, gc, known, length } = contig, count = Math.max(1, Math.round((STEP * perPixel) / window));
  const columns = [];
  for (let at = 0; at < gc.length; at += count) {
    let bases = 0, sum = 0;
    for (let one = at; one < Math.min(at + count, gc.length); one++) {
      bases += known[one] ?? Math.min(window, length - one * window);
      sum += gc[one];
    }
    if (bases) columns.push({ start: at * window, end: Math.min((at + count) * window, length), bases, gc: (100 * sum) / bases });
  }
  return { columns, size: count * window };
}

// Labels are placed from right to left, each in the lowest line where it is free. Its leader, at its left end, crosses
// no other label. A label without room is left out.
function placeLabels(labels, right, lines) {
  const ends = Array(lines).fill(right), placed = [];
  for (const label of labels.toSorted((one, other) => other.at - one.at)) {
    const size = widthOf(label.text) + 8, wanted = label.at - (label.fits ? size / 2 : 0);
    const begin = Math.max(LEFT, Math.min(wanted, right - size));
    const at = ends.findIndex((end, above) => begin + size <= end && ends.slice(0, above).every(lower => lower >= label.at));
    if (at < 0) continue;
    for (let lower = 0; lower < at; lower++) ends[lower] = label.at;
    ends[at] = begin;
    placed.push({ ...label, begin, line: at });
  }
  return placed;
}

function drawLabels(figure, labels, base, direction) {
  const { colors, parts } = figure;
  for (const { at, begin, line: row, text, edge, tip } of labels) {
    const y = base + direction * LINE * (row + 0.5);
    parts.push(line(at, y - direction * 6, at, edge, colors.muted, { "stroke-width": 0.7, class: "leader" }));
    parts.push(write(begin + (begin === at ? -1 : 2), y + 4, text, colors.ink, { "data-tip": tip }));
  }
}

const usedLines = labels => Math.max(0, ...labels.map(label => label.line + 1));
function title(figure, text) {
  figure.parts.push(write(LEFT, figure.y + 11, cut(text, figure.right - LEFT), figure.colors.muted));
  figure.y += 18;
}

function drawHead(figure) {
  const { contig, view, right, colors, parts, x } = figure, font = `bold 14px ${FONT}`;
  const bases = roundDown((view.to - view.from) / 6), start = right - x(view.from + bases) + LEFT, scale = withUnit(bases, bases, bases);
  parts.push(tag("path", { d: `M${short(start)} 8v8M${short(start)} 12H${short(right)}M${short(right)} 8v8`, stroke: colors.ink, fill: "none", class: "scale" }));
  parts.push(write(start - 6, 16, scale, colors.ink, { "text-anchor": "end" }));
  const name = cut(contig.name, start - LEFT - widthOf(scale) - 20, font);
  parts.push(write(LEFT, 16, name, colors.ink, { "font-size": 14, "font-weight": "bold" }));
  parts.push(write(LEFT, 34, `${rangeText(contig, view)} of ${number(contig.length)} bp`, colors.muted));
  figure.y = 46;
}

// The whole contig, with a frame around what is in view: only for the screen.
function drawOverview(figure) {
  const { contig, right, colors, parts, view } = figure, scale = (right - LEFT) / contig.length;
  const whole = { contig, view: { from: 0, to: contig.length } };
  const bar = ({ start, end }, ...more) => rect(LEFT + start * scale, figure.y, Math.max(1, (end - start) * scale), 10, ...more);
  parts.push(bar({ start: 0, end: contig.length }, colors.line, { rx: 3 }));
  parts.push(...inView(contig.proviruses, whole).map(span => bar(span, colors.viral, { opacity: 0.6 })));
  const frame = inView([{ start: view.from, end: view.to }], whole);
  parts.push(...frame.map(span => bar(span, colors.accent, { "fill-opacity": 0.25, stroke: colors.accent, rx: 3 })));
  parts.push(rect(LEFT, figure.y - 5, right - LEFT, 20, "transparent", { class: "overview" }));
  figure.y += 20;
}

// One label for each provirus, at the longest of its parts; all of them in the longest form in which all have room. The
// key has the coordinates if there is room for numbers alone.
function labelProviruses(spans, perPixel, from, right, lines) {
  const longest = new Map();
  for (const span of spans) {
    const before = longest.get(span.number);
    if (!before || span.end - span.start > before.end - before.start) longest.set(span.number, span);
  }
  const place = base => LEFT + (base - from) / perPixel;
  const forms = [span => `${span.number}: ${span.coordinates}${span.virus && `, ${span.virus}`}`, span => `${span.number}: ${span.coordinates}`, span => span.number];
  const tried = forms.map(form => placeLabels([...longest.values()].map(span => {
    const text = String(form(span)), room = (span.end - span.start) / perPixel, fits = widthOf(text) + 8 < room;
    return { number: span.number, text, tip: span.tip, fits, at: place(span.start) + (fits ? room / 2 : Math.min(4, room / 2)) };
  }), right, lines));
  return tried.find(placed => placed.length === longest.size) ?? tried.at(-1);
}

function drawProviruses(figure) {
  const { contig, view, colors, parts, x, right, perPixel } = figure;
  if (!contig.proviruses.length) return;
  title(figure, "proviruses");
  // On the screen the whole contig decides for how many lines of labels there is room, so that no track moves on zoom.
  const whole = { contig, view: { from: 0, to: contig.length } };
  const most = usedLines(labelProviruses(inView(contig.proviruses, whole), contig.length / (right - LEFT), 0, right, LABEL_LINES));
  const spans = inView(contig.proviruses, figure), labels = labelProviruses(spans, perPixel, view.from, right, most);
  const isInKey = labels.some(label => label.text === String(label.number));
  figure.keys = isInKey ? [...new Set(spans.map(span => `${span.number}: ${span.coordinates}`))] : [];
  const base = figure.y + LINE * (figure.isScreen ? most : usedLines(labels));
  drawLabels(figure, labels.map(label => ({ ...label, edge: base })), base, -1);
  for (const span of spans) {
    parts.push(rect(x(span.start), base, Math.max(1.5, x(span.end) - x(span.start)), 8, colors.viral, { "data-tip": span.tip, class: "provirus" }));
  }
  figure.y = base + 18;
}

function arrow({ start, end, strand, isCut }, { x }, middle) {
  const isForward = strand !== "-", [left, right] = [x(start), Math.max(x(end), x(start) + 0.8)];
  const head = isCut[isForward ? 1 : 0] ? 0 : Math.min(7, right - left), half = ARROW / 2 - 2;
  const [tail, tip, neck] = isForward ? [left, right, right - head] : [right, left, left + head];
  return [[tail, middle - half], [neck, middle - half], [tip, head ? middle : middle - half], ...(head ? [] : [[tip, middle + half]]),
    [neck, middle + half], [tail, middle + half]].map(point => point.map(short).join(",")).join(" ");
}

function drawGenes(figure) {
  const { contig, genes, colors, paint, parts, x, right, isDense, isScreen } = figure;
  title(figure, "genes: + strand above, − strand below");
  const strands = ["+", "-"].map(strand => genes.filter(gene => gene.strand === strand));
  const labels = strands.map(of => placeLabels(isDense ? [] : of.filter(gene => gene.product).map(gene => (
    { at: x((gene.start + gene.end) / 2), text: cut(gene.product, LONGEST), lane: gene.lane, tip: gene.tip })), right, LABEL_LINES));
  const [above, below] = labels.map(placed => LINE * (isScreen && !isDense ? LABEL_LINES : usedLines(placed)));
  const [up, down] = contig.lanes.map(lanes => ARROW * lanes), axis = figure.y + above + up;
  const middle = gene => axis + (gene.strand === "-" ? 1 : -1) * ARROW * (gene.lane + 0.5);
  [[-1, axis - up], [1, axis + down]].forEach(([direction, base], at) => drawLabels(figure,
    labels[at].map(label => ({ ...label, edge: axis + direction * ARROW * (label.lane + 0.8) })), base, direction));
  parts.push(line(LEFT, axis, right, axis, colors.muted));
  if (isDense) {
    for (const [at, of] of strands.entries()) {
      for (const column of inView(meanColumns(of, figure.column), { contig: { ...contig, circular: false }, view: figure.view })) {
        parts.push(rect(x(column.start), at ? axis + 1 : axis - ARROW + 1, x(column.end) - x(column.start), ARROW - 2, paint(column.logOdds), { "data-tip": columnTip(column), class: "gene", "shape-rendering": "crispEdges" }));
      }
    }
  } else {
    for (const gene of genes) {
      const stroke = x(gene.end) - x(gene.start) > 2 ? { stroke: colors.muted, "stroke-width": 0.5 } : {};
      parts.push(tag("polygon", { points: arrow(gene, figure, middle(gene)), fill: paint(gene.logOdds), ...stroke, "data-tip": gene.tip, class: "gene" }));
    }
  }
  figure.y = axis + down + below + 12;
}

function drawAxis({ parts, colors, right }, top, height, low, high, ticks) {
  const y = value => top + (height * (high - value)) / (high - low);
  for (const value of ticks) {
    parts.push(line(LEFT, y(value), right, y(value), colors.line));
    parts.push(write(LEFT - 6, y(value) + 4, String(value).replace("-", "−"), colors.muted, { "text-anchor": "end" }));
  }
  return y;
}

function drawBars(figure) {
  const { contig, view, genes, colors, paint, parts, x, right, isDense } = figure;
  title(figure, `log-odds of ${isDense ? "genes" : "each gene"}`);
  const y = drawAxis(figure, figure.y, BARS, -LIMIT, LIMIT, [-6, -3, 0, 3, 6]);
  const bars = isDense ? inView(meanColumns(genes, figure.column), { contig: { ...contig, circular: false }, view }) : genes;
  for (const bar of bars) {
    const value = Math.max(-LIMIT, Math.min(LIMIT, bar.logOdds)), width = x(bar.end) - x(bar.start);
    const [left, size] = [x(bar.start), Math.max(0.8, width > 5 ? width - 1 : width)], tip = bar.tip ?? columnTip(bar);
    parts.push(rect(left, Math.min(y(0), y(value)), size, Math.max(0.5, Math.abs(y(value) - y(0))), paint(bar.logOdds), { "data-tip": tip, class: "bar", "shape-rendering": isDense ? "crispEdges" : undefined }));
    if (value !== bar.logOdds) parts.push(rect(left, value > 0 ? y(value) - 1 : y(value) - 2, size, 3, colors.ink, { class: "clipped" }));
  }
  parts.push(line(LEFT, y(0), right, y(0), colors.ink));
  figure.y += BARS + 14;
}

function drawGc(figure) {
  const { contig, colors, parts, x, right } = figure, { columns, size } = gcColumns(contig, figure.perPixel);
  const points = inView(columns, figure).toSorted((one, other) => one.start - other.start), [known, gc] = [
    columns.reduce((sum, column) => sum + column.bases, 0), columns.reduce((sum, column) => sum + column.bases * column.gc, 0)];
  const mean = known ? gc / known : 50;
  title(figure, `GC, % per ${bases(size)}${known ? `; mean ${mean.toFixed(1)} % dashed` : ""}`);
  const values = [mean, ...points.map(point => point.gc)];
  let [low, high] = [5 * Math.floor(Math.min(...values) / 5), 5 * Math.ceil(Math.max(...values) / 5)];
  if (low === high) [low, high] = [low - 5, high + 5];
  const y = drawAxis(figure, figure.y, CURVE, low, high, [low, high]);
  for (const { start, end } of inView(contig.n, figure)) {
    parts.push(rect(x(start), figure.y, Math.max(1, x(end) - x(start)), CURVE, colors.unresolved, { opacity: 0.4, class: "n" }));
  }
  parts.push(line(LEFT, y(mean), right, y(mean), colors.muted, { "stroke-dasharray": "4 3" }));
  const pieces = []; // between them no base is known
  for (const point of points) {
    if (point.start === pieces.at(-1)?.at(-1).end) pieces.at(-1).push(point);
    else pieces.push([point]);
  }
  for (const piece of pieces) {
    const places = [[piece[0].start, piece[0].gc], ...piece.map(({ start, end, gc: value }) => [(start + end) / 2, value]), [piece.at(-1).end, piece.at(-1).gc]];
    parts.push(tag("polyline", { points: places.map(([base, value]) => `${short(x(base))},${short(y(value))}`).join(" "), fill: "none", stroke: colors.accent, "stroke-width": 1.3, "stroke-linejoin": "round", class: "gc" }));
  }
  figure.y += CURVE + 8;
}

function drawPositions(figure) {
  const { contig, view, colors, parts, x, right } = figure, y = figure.y;
  const step = Math.max(1, roundDown((view.to - view.from) / Math.max(2, (right - LEFT) / 110)));
  const ticks = Array.from({ length: Math.floor(contig.length / step) }, (_, at) => (at + 1) * step).map(at => ({ start: at - 1, end: at, at }));
  parts.push(line(LEFT, y, right, y, colors.muted));
  let last = 0;
  for (const { start, end, at, turn } of inView(ticks, figure).toSorted((one, other) => one.start - other.start)) {
    const text = withUnit(at, step, 10 * step), place = x((start + end) / 2), half = widthOf(text) / 2;
    parts.push(line(place, y, place, y + 5, colors.muted));
    const middle = Math.min(place, right + RIGHT - half - 1);
    if (middle - half < last) continue;
    last = middle + half + 8;
    parts.push(write(middle, y + 18, text, colors.muted, { "text-anchor": "middle", "data-turn": turn || undefined }));
  }
  figure.y += 32;
}

function drawKey(figure) {
  const { contig, colors, parts, right, isDense } = figure, stops = [colors.cellular, colors.middle, colors.viral];
  const gradient = tag("linearGradient", { id: "log-odds" }, stops.map((color, at) => tag("stop", { offset: at / 2, "stop-color": color })).join(""));
  const swatch = (fill, more) => (at, y) => rect(at, y - 9, 14, 10, fill, more);
  const items = [
    [90, (at, y) => gradient + rect(at, y - 9, 90, 10, "url(#log-odds)"), `log-odds, −${LIMIT} (cellular) to ${LIMIT} (viral)`],
    isDense
      ? [14, swatch(colors.middle), `mean of genes in ${bases(Math.round(figure.column))}, weighted by bases`]
      : [22, (at, y) => tag("polygon", { points: arrow({ start: at, end: at + 22, isCut: [] }, { x: place => place }, y - 4), fill: colors.middle, stroke: colors.muted, "stroke-width": 0.7 }), "gene and its direction"],
    [14, swatch(colors.ink, { height: 3 }), `bar goes on beyond ±${LIMIT}`],
    ...(contig.proviruses.length ? [[14, swatch(colors.viral, { opacity: 0.25 }), "provirus"]] : []),
    ...(contig.n.length ? [[14, swatch(colors.unresolved, { opacity: 0.4 }), "run of N"]] : []),
    ...(figure.keys ?? []).map(text => [-6, () => "", text]),
  ];
  let at = LEFT;
  for (const [size, draw, text] of items) {
    const whole = size + 6 + widthOf(text);
    if (at > LEFT && at + whole > right + RIGHT) [at, figure.y] = [LEFT, figure.y + 18];
    parts.push(draw(at, figure.y + 11), write(at + size + 6, figure.y + 11, cut(text, right + RIGHT - at - size - 6), colors.ink));
    at += whole + 20;
  }
  figure.y += 20;
}

const rangeText = ({ length }, { from, to }) => [from + 1, to].map(base => number(((base - 1) % length) + 1)).join("-");
const columnTip = ({ genes, start, end, logOdds }) =>
  `${number(Math.round(start) + 1)} to ${number(Math.round(end))}: ${genes} gene${genes > 1 ? "s" : ""}, mean log-odds ${logOdds.toFixed(2)}`;

// The figure as the text of an SVG file, with its height.
function contigFigure(contig, view, width, colors, isScreen) {
  const right = width - RIGHT, perPixel = (view.to - view.from) / (right - LEFT);
  const figure = { contig, view, width, right, perPixel, colors, paint: ramp(colors), isScreen, parts: [], column: COLUMN * perPixel };
  figure.x = base => LEFT + (base - view.from) / perPixel;
  figure.genes = inView(contig.genes, figure);
  figure.isDense = figure.genes.length * FEWEST_PIXELS > right - LEFT;
  drawHead(figure);
  if (isScreen) drawOverview(figure);
  const top = figure.y, tracks = figure.parts.length;
  for (const track of [drawProviruses, drawGenes, drawBars, drawGc, drawPositions]) track(figure);
  const bands = inView(contig.proviruses, figure).map(({ start, end }) =>
    rect(figure.x(start), top, Math.max(1, figure.x(end) - figure.x(start)), figure.y - 32 - top, colors.viral, { opacity: 0.1, class: "band" }));
  figure.parts.splice(tracks, 0, ...bands);
  drawKey(figure);
  if (!isScreen) figure.parts.unshift(rect(0, 0, width, figure.y, colors.card));
  const label = `${contig.name}, ${rangeText(contig, view)}`;
  const size = { width, height: figure.y, viewBox: `0 0 ${width} ${figure.y}`, "font-family": FONT, "font-size": SIZE };
  const parts = figure.parts.join("\n"), inside = isScreen ? parts : parts.replace(/ data-tip="[^"]*"/g, "");
  return { svg: tag("svg", { xmlns: "http://www.w3.org/2000/svg", role: "img", "aria-label": label, ...size }, inside), height: figure.y };
}

contigFigure.margins = [LEFT, RIGHT];
return contigFigure;
})();
