// The view of one contig: its names, and a figure of its genes that moves and zooms.

const REGIONS = ["region", "proviral_region", "viral_sequence"]; // features that are no genes
const AROUND = 10_000; // bases on each side of a provirus that a button shows
const SHORTEST_VIEW = 100; // bases
const FILE_WIDTH = 900; // px of a saved figure: letters have 6 points where it is 180 mm wide
const INKS = ["ink", "muted", "line", "card", "viral", "cellular", "unresolved", "middle", "accent"];

function readFeatures(gff3) {
  const features = [];
  for (const line of gff3.split("\n")) {
    const [, , type, start, end, score, strand, , attributes] = line.split("\t");
    if (!attributes || REGIONS.includes(type)) continue;
    const known = Object.fromEntries(attributes.split(";").map(pair => pair.split("=")));
    const gene = {
      id: decodeURIComponent(known.ID), type, start: start - 1, end: +end, score: +score, strand,
      logOdds: +known.log_odds, partial: known.partial,
      product: decodeURIComponent(known.product ?? ""), productScore: known.function_score,
    };
    features.push({ ...gene, tip: geneTip(gene) });
  }
  return features;
}

function geneTip({ id, type, start, end, strand, score, logOdds, partial, product, productScore }) {
  const name = product && `${product} (${productScore})\n`, isPartial = partial === "no" ? "" : `, partial: ${partial}`;
  const place = `${number(start + 1)} to ${number(end)} (${strand}), ${number(end - start)} bp`;
  return `${name}${id}: ${type}${isPartial}\n${place}\nscore ${score.toFixed(4)}, log-odds ${logOdds.toFixed(2)}`;
}

// Genes that overlap by more than a tenth of the shorter lie in lanes of their own.
function placeInLanes(features) {
  const lanes = { "+": [], "-": [] };
  for (const gene of features.toSorted((a, b) => a.start - b.start)) {
    const ends = lanes[gene.strand];
    gene.lane = ends.findIndex(end => end - gene.start <= 0.1 * (gene.end - gene.start));
    if (gene.lane < 0) gene.lane = ends.length;
    ends[gene.lane] = gene.end;
  }
  return ["+", "-"].map(strand => Math.max(1, lanes[strand].length));
}

function readContig(row, drawn) {
  const genes = readFeatures(drawn.gff3);
  const proviruses = drawn.proviruses.map(([start, end, virus, why], at) => {
    const coordinates = `${number(start)}-${number(end)}`;
    const tip = `provirus ${coordinates}, ${number(end - start + 1)} bp\n${[virus, why].filter(Boolean).join(": ")}`;
    return { number: at + 1, start: start - 1, end, virus, coordinates, tip };
  });
  return {
    name: row.id, length: row.length, genes, lanes: placeInLanes(genes), proviruses, window: drawn.window, gc: drawn.gc,
    known: drawn.known, n: drawn.n.map(([start, end]) => ({ start, end })),
    circular: drawn.gff3.includes("\tIs_circular=true") || genes.some(gene => gene.end > row.length),
  };
}

// What is known of a virus: terms and values.
function nameFacts(row, drawn) {
  const repeat = row.terminal_repeat && `terminal repeat of ${number(+row.terminal_repeat)} bp`;
  const shared = row.closest_share && `${percent(+row.closest_share)} of protein k-mers shared`;
  const identity = row.closest_identity && `amino-acid identity about ${percent(+row.closest_identity)}`;
  const joined = (...parts) => parts.filter(Boolean).join(", ");
  return [
    ["virus", row.virus],
    ["genome", joined(row.genome, row.topology, repeat)],
    ["taxonomy", row.taxonomy.split(";").filter(Boolean).join(" › ")],
    ["lowest rank", joined(row.taxon_rank, row.taxon_score && `score ${row.taxon_score}`, row.taxon_note)],
    ["complete genomes of the taxon", row.taxon_length && `${row.taxon_length.split("-").map((bases) => number(+bases)).join(" to ")} bp`],
    ["closest known", joined(row.closest_name, row.closest, shared, identity)],
    ["hallmark genes", row.hallmarks],
    ["functions", row.functions],
    ...(drawn?.proviruses ?? []).map(([start, end, virus, why]) =>
      [`provirus ${number(start)} to ${number(end)}`, [virus, why].filter(Boolean).join(": ")]),
  ].filter(([, value]) => value);
}

function showNames(row, drawn) {
  byId("contig-why").textContent = row.why;
  const item = (name, text) => Object.assign(document.createElement(name), { textContent: text });
  byId("contig-names").replaceChildren(...nameFacts(row, drawn).flatMap(([term, value]) => [item("dt", term), item("dd", value)]));
}

function showButtons({ proviruses }) {
  byId("contig-proviruses").replaceChildren(...proviruses.map(provirus => Object.assign(document.createElement("button"), {
    textContent: `${proviruses.length > 1 ? `${provirus.number}: ` : "provirus "}${provirus.coordinates}`, title: provirus.tip,
    onclick: () => showProvirus(provirus),
  })));
}

// Open a contig; if a provirus in it is the row of the table, show that.
function openContig(index) {
  const row = page.rows[index], drawn = page.data.drawn[index];
  page.open = index;
  byId("contig-name").textContent = row.id;
  const facts = [row.sample, `${number(row.length)} bp`, CALLS[row.call] + (row.reason && ` (${row.reason})`),
    row.posterior === null ? "" : `posterior ${row.posterior.toFixed(4)}`, row.fdr === null ? "" : `fdr ${row.fdr.toFixed(4)}`,
    `${number(row.genes)} gene${row.genes === 1 ? "" : "s"}`, row.code && `genetic code ${row.code}`];
  if (row.proviruses) facts.push(`${number(row.proviruses)} provirus${row.proviruses > 1 ? "es" : ""}`);
  if (drawn?.n.length) facts.push(`${drawn.n.length} runs of N`);
  byId("contig-facts").textContent = facts.filter(Boolean).join(" · ");
  showNames(row, drawn);
  page.contig = drawn && readContig(row, drawn);
  page.view = { from: 0, to: row.length };
  byId("contig-missing").hidden = Boolean(drawn);
  byId("contig-browser").hidden = !drawn;
  for (const id of ["save-svg", "save-png", "save-gff3"]) byId(id).disabled = !drawn;
  if (!byId("contig").open) byId("contig").showModal();
  if (!drawn) return;
  showButtons(page.contig);
  const provirus = page.proviruses?.find(row => row.index === page.at && row.opens === index);
  if (provirus) showProvirus({ start: provirus.start - 1, end: provirus.end });
  else drawContig();
}

function setView(from, to) {
  const { length, circular } = page.contig, size = Math.round(Math.min(Math.max(to - from, SHORTEST_VIEW), length));
  const start = Math.round((from + to - size) / 2);
  const first = circular ? start - length * Math.floor(start / length) : Math.min(Math.max(start, 0), length - size);
  page.view = { from: first, to: first + size };
  drawContig();
}
function move(share) {
  const { from, to } = page.view, by = share * (to - from);
  setView(from + by, to + by);
}
function zoom(factor, at = (page.view.from + page.view.to) / 2) {
  setView(at - (at - page.view.from) * factor, at + (page.view.to - at) * factor);
}
const showWhole = () => setView(0, page.contig.length);
function showProvirus({ start, end }) {
  const { length, circular } = page.contig;
  if (circular) setView(start - AROUND, end + AROUND);
  else setView(Math.max(0, start - AROUND), Math.min(length, end + AROUND));
}

function inks(scheme) {
  byId("probe").style.colorScheme = scheme;
  const colors = Object.fromEntries(INKS.map(name => [name, colour(name)]));
  byId("probe").style.colorScheme = "";
  return colors;
}

function drawContig() {
  const plot = byId("contig-plot");
  const { svg } = contigFigure(page.contig, page.view, plot.clientWidth, inks(""), true);
  plot.replaceChildren(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement);
  byId("contig-tip").hidden = true;
}

const contigSvg = () => contigFigure(page.contig, page.view, FILE_WIDTH, inks("light"), false);

async function contigPng() {
  const { svg, height } = contigSvg(), image = new Image(), canvas = document.createElement("canvas");
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  await image.decode();
  Object.assign(canvas, { width: 2 * FILE_WIDTH, height: 2 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise(done => canvas.toBlob(done));
}

function fileName(ending) {
  const { from, to } = page.view;
  return `${[...page.contig.name].slice(0, 100).join("")}_${from + 1}-${to}.${ending}`;
}

const KEYS = {
  ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: showWhole,
};
const STEPS = { ArrowUp: "before", PageUp: "before", ArrowDown: "after", PageDown: "after" };

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in STEPS) byId(STEPS[event.key]).click();
  else if (event.key in KEYS && page.contig) KEYS[event.key]();
  else return;
  event.preventDefault();
}

// A finger or the mouse moves the figure, two fingers zoom. In the overview a press shows that place.
function followPointers(plot) {
  const pointers = new Map();
  const baseAt = x => {
    const { from, to } = page.view, [left, right] = contigFigure.margins, { left: edge, width } = plot.getBoundingClientRect();
    return from + ((x - edge - left) / (width - left - right)) * (to - from);
  };
  const center = x => {
    const { from, to } = page.view, place = ((baseAt(x) - from) / (to - from)) * page.contig.length;
    setView(place - (to - from) / 2, place + (to - from) / 2);
  };
  plot.addEventListener("pointerdown", event => {
    const inOverview = event.target.classList.contains("overview");
    pointers.set(event.pointerId, { x: event.clientX, inOverview });
    if (inOverview) center(event.clientX);
  });
  plot.addEventListener("pointermove", event => {
    const before = pointers.get(event.pointerId);
    if (!before) return showTip(event);
    plot.setPointerCapture(event.pointerId);
    const [base, now] = [baseAt(before.x), baseAt(event.clientX)];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (before.inOverview) center(event.clientX);
    else if (other) zoom(Math.max(0.2, Math.min(5, (before.x - other.x) / (event.clientX - other.x || 1))), baseAt(other.x));
    else setView(page.view.from + base - now, page.view.to + base - now);
    before.x = event.clientX;
  });
  for (const name of ["pointerup", "pointercancel"]) plot.addEventListener(name, event => pointers.delete(event.pointerId));
  plot.addEventListener("pointerleave", () => (byId("contig-tip").hidden = true));
  plot.addEventListener("dblclick", event => zoom(0.4, baseAt(event.clientX)));
  plot.addEventListener("wheel", event => {
    if (event.ctrlKey) zoom(1.002 ** event.deltaY, baseAt(event.clientX));
    else if (event.deltaX) move(event.deltaX / plot.clientWidth);
    else return; // it scrolls the page
    event.preventDefault();
  }, { passive: false });
}

function showTip(event) {
  const tip = byId("contig-tip"), text = event.target.dataset.tip, box = byId("contig-browser").getBoundingClientRect();
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  tip.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth))}px`;
  tip.style.top = `${event.clientY - box.top + 18}px`;
}

function browse() {
  byId("zoom-in").onclick = () => zoom(0.5);
  byId("zoom-out").onclick = () => zoom(2);
  byId("zoom-whole").onclick = showWhole;
  byId("save-svg").onclick = () => save(fileName("svg"), "image/svg+xml", contigSvg().svg);
  byId("save-png").onclick = async () => save(fileName("png"), "image/png", await contigPng());
  byId("save-gff3").onclick = () => save(`${page.contig.name}.gff3`, "text/plain", page.data.drawn[page.open].gff3);
  byId("contig").addEventListener("keydown", pressed);
  followPointers(byId("contig-plot"));
  new ResizeObserver(() => page.contig && byId("contig").open && drawContig()).observe(byId("contig-plot"));
}
