// The page of one contig: its names, genes, smoothed score, GC and runs of N in true coordinates.

const POINTS = 300; // of the smoothed curve
const FONT = "11px system-ui, sans-serif", LINE = 15, MOST_LINES = 5, LONGEST = 36; // of labels; px, lines, letters
const REGIONS = ["region", "proviral_region", "viral_sequence"]; // features that are no genes

function readFeatures(gff3) {
  const features = [];
  for (const line of gff3.split("\n")) {
    const [, , type, start, end, score, strand, , attributes] = line.split("\t");
    if (!attributes || REGIONS.includes(type)) continue;
    const known = Object.fromEntries(attributes.split(";").map(pair => pair.split("=")));
    features.push({
      id: decodeURIComponent(known.ID), type, start: start - 1, end: +end, score: +score, strand,
      logOdds: +known.log_odds, partial: known.partial,
      product: decodeURIComponent(known.product ?? ""), productScore: known.function_score,
    });
  }
  return features;
}

// Genes that overlap by more than a tenth of the shorter lie in lanes of their own.
function placeInLanes(features) {
  const lanes = { "+": [], "-": [] };
  for (const gene of features.toSorted((a, b) => a.start - b.start)) {
    const ends = lanes[gene.strand];
    let lane = ends.findIndex(end => end - gene.start <= 0.1 * (gene.end - gene.start));
    if (lane < 0) lane = ends.length;
    ends[lane] = gene.end;
    gene.lane = gene.strand === "+" ? lane + 1 : -lane - 1;
  }
  return [-lanes["-"].length || -1, lanes["+"].length || 1];
}

// A mean of the genes' log-odds weighted by their lengths and, as a Gaussian, by their distance.
function smooth(features, length) {
  if (!features.length) return [];
  const width = Math.max(1500, length / 40);
  return Array.from({ length: POINTS + 1 }, (_, at) => {
    const place = (length * at) / POINTS;
    let total = 0, sum = 0;
    for (const gene of features) {
      const distance = ((gene.start + gene.end) / 2 - place) / width;
      const weight = (gene.end - gene.start) * Math.exp(-(distance ** 2) / 2) + 1e-12;
      total += weight;
      sum += weight * gene.logOdds;
    }
    return [place, sum / total];
  });
}

function arrow(params, api) {
  const [start, end, lane, direction] = [0, 1, 2, 3].map(at => api.value(at));
  const [left, middle] = api.coord([start, lane]), right = api.coord([end, lane])[0];
  const half = Math.min(9, api.size([0, 1])[1] * 0.36), head = Math.min(9, (right - left) / 2);
  const neck = direction > 0 ? right - head : left + head;
  const [tail, tip] = direction > 0 ? [left, right] : [right, left];
  const points = [[tail, middle - half], [neck, middle - half], [tip, middle], [neck, middle + half], [tail, middle + half]];
  return {
    type: "polygon",
    shape: { points },
    style: { fill: api.visual("color"), stroke: colour("muted"), lineWidth: 0.5 },
  };
}

// Labels come from right to left, and each takes the lowest line that is free: lines to genes cross no other label, or
// lie behind it at the right end. A label without room is left out.
const label = named => (params, api) => {
  const { x: left, y: top, width } = params.coordSys, { product, lane } = named[params.dataIndex];
  const [middle, gene] = api.coord([api.value(0), lane]);
  const text = product.length > LONGEST ? `${product.slice(0, LONGEST - 1)}…` : product;
  const size = echarts.format.getTextRect(text, FONT).width + 6;
  const begin = Math.max(left, Math.min(middle, left + width - size));
  const ends = (params.context.ends ??= Array(linesFor(named)).fill(Infinity));
  const line = ends.findIndex(end => begin + size <= end);
  if (line < 0) return null;
  ends[line] = begin;
  const y = top + LINE * (ends.length - line - 0.5);
  return {
    type: "group",
    children: [
      { type: "line", shape: { x1: middle, y1: y, x2: middle, y2: gene }, style: { stroke: colour("muted"), lineWidth: 0.7 } },
      { type: "text", z2: 1, x: begin, y, style: { text, font: FONT, fill: colour("ink"), backgroundColor: colour("card"),
        padding: [1, 3], verticalAlign: "middle" } },
    ],
  };
};
const linesFor = named => Math.min(MOST_LINES, named.length);

function geneTip(gene) {
  const partial = gene.partial === "no" ? "" : `, partial: ${gene.partial}`;
  const text = `${gene.id}: ${number(gene.start + 1)} to ${number(gene.end)} (${gene.strand}), ${gene.type}${partial}`;
  const product = gene.product && `<b>${echarts.format.encodeHTML(gene.product)}</b> (${gene.productScore})<br>`;
  return `${product}${echarts.format.encodeHTML(text)}<br>score ${gene.score.toFixed(4)}, log-odds ${gene.logOdds.toFixed(2)}`;
}

function contigOption(row, drawn) {
  const features = readFeatures(drawn.gff3);
  const [lowest, highest] = placeInLanes(features);
  const end = Math.max(row.length, ...features.map(gene => gene.end));
  const named = features.filter(gene => gene.product).toSorted((a, b) => b.start - a.start);
  const lanes = 20 * (highest - lowest + 1.2), labels = LINE * linesFor(named), genes = lanes + labels;
  const tops = [20, 20 + genes + 36, 20 + genes + 36 + 150 + 36], heights = [genes, 150, 70];
  // A point in the middle of each window, and the ends: of steps, ECharts leaves out those of less than two pixels.
  const middle = at => (at * drawn.window + Math.min((at + 1) * drawn.window, row.length)) / 2;
  const gc = [[0, drawn.gc[0]], ...drawn.gc.map((value, at) => [middle(at), value]), [row.length, drawn.gc.at(-1)]];
  const shade = (spans, name) => ({
    silent: true, itemStyle: { color: colour(name), opacity: 0.35 }, data: spans.map(([from, to]) => [{ xAxis: from }, { xAxis: to }]),
  });
  const value = (grid, name, more) => ({ ...axis(name), gridIndex: grid, nameGap: 38, scale: true, splitNumber: 3, ...more });
  return {
    height: tops[2] + heights[2] + 66,
    option: {
      ...plain(),
      legend: undefined,
      tooltip: { confine: true, formatter: event => event.seriesIndex === 0 ? geneTip(features[event.dataIndex]) : "" },
      grid: tops.map((top, at) => ({ left: 60, right: 20, top, height: heights[at] })),
      xAxis: tops.map((_, grid) => ({
        ...axis(grid === 2 ? "position" : ""), gridIndex: grid, min: 0, max: end, splitLine: { show: false },
        axisLabel: { show: grid === 2, color: colour("muted"), formatter: number, hideOverlap: true },
      })),
      yAxis: [
        value(0, "genes", { min: lowest - 0.6, max: highest + 0.6 + labels / 20, scale: false, interval: 100, splitLine: { show: false },
          axisLabel: { show: false }, axisTick: { show: false } }),
        value(1, "log-odds"),
        value(2, "GC %"),
      ],
      dataZoom: [
        { type: "inside", xAxisIndex: [0, 1, 2], zoomOnMouseWheel: "ctrl" },
        { type: "slider", xAxisIndex: [0, 1, 2], height: 16, bottom: 6, showDataShadow: false, textStyle: { color: colour("muted") } },
      ],
      visualMap: {
        seriesIndex: 0, dimension: 4, min: -6, max: 6, calculable: false, orient: "horizontal", right: 20, top: -8,
        itemWidth: 8, itemHeight: 80, text: ["viral", "cellular"], textStyle: { color: colour("muted") },
        inRange: { color: [colour("cellular"), colour("middle"), colour("viral")] },
      },
      series: [
        {
          type: "custom", renderItem: arrow, clip: true, xAxisIndex: 0, yAxisIndex: 0, encode: { x: [0, 1], y: 2 },
          data: features.map(gene => [gene.start, gene.end, gene.lane, gene.strand === "+" ? 1 : -1, gene.logOdds]),
          markArea: shade(drawn.regions, "viral"),
        },
        {
          type: "line", xAxisIndex: 1, yAxisIndex: 1, showSymbol: false, data: smooth(features, end),
          lineStyle: { color: colour("ink"), width: 1.5 },
          markArea: shade(drawn.regions, "viral"),
        },
        {
          type: "line", xAxisIndex: 2, yAxisIndex: 2, showSymbol: false, data: gc, lineStyle: { color: colour("accent"), width: 1 },
          markArea: shade(drawn.n, "unresolved"),
        },
        {
          type: "custom", renderItem: label(named), clip: true, silent: true, z: 1, xAxisIndex: 0, yAxisIndex: 0,
          encode: { x: 0, y: 1 }, data: named.map(gene => [(gene.start + gene.end) / 2, gene.lane]),
        },
      ],
    },
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
  const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });
  byId("contig-names").replaceChildren(...nameFacts(row, drawn).flatMap(([term, value]) => [element("dt", term), element("dd", value)]));
}

function openContig(index) {
  const row = page.rows[index], drawn = page.data.drawn[index];
  page.open = index;
  byId("contig-name").textContent = row.id;
  const facts = [row.sample, `${number(row.length)} bp`, CALLS[row.call] + (row.reason && ` (${row.reason})`),
    row.posterior === null ? "" : `posterior ${row.posterior.toFixed(4)}`, row.fdr === null ? "" : `fdr ${row.fdr.toFixed(4)}`,
    `${number(row.genes)} genes`, row.code && `genetic code ${row.code}`];
  if (row.proviruses) facts.push(`${number(row.proviruses)} provirus${row.proviruses > 1 ? "es" : ""}`);
  if (drawn?.n.length) facts.push(`${drawn.n.length} runs of N`);
  byId("contig-facts").textContent = facts.filter(Boolean).join(" · ");
  showNames(row, drawn);
  byId("contig-missing").hidden = Boolean(drawn);
  byId("contig-plot").hidden = !drawn;
  for (const id of ["save-svg", "save-gff3"]) byId(id).disabled = !drawn;
  if (!byId("contig").open) byId("contig").showModal();
  if (drawn) drawContig();
}

function drawContig() {
  const { option, height } = contigOption(page.rows[page.open], page.data.drawn[page.open]);
  byId("contig-plot").style.height = `${height}px`;
  const chart = draw("contig-plot", option);
  chart.resize();
}

function contigSvg() {
  const { option, height } = contigOption(page.rows[page.open], page.data.drawn[page.open]);
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 1200, height });
  chart.setOption({ ...option, backgroundColor: colour("card") });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
