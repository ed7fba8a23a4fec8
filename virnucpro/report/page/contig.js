// The page of one contig: genes, smoothed score, GC and runs of N in true coordinates.

const POINTS = 300; // of the smoothed curve
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

function geneTip(gene) {
  const partial = gene.partial === "no" ? "" : `, partial: ${gene.partial}`;
  const text = `${gene.id}: ${number(gene.start + 1)} to ${number(gene.end)} (${gene.strand}), ${gene.type}${partial}`;
  return `${echarts.format.encodeHTML(text)}<br>score ${gene.score.toFixed(4)}, log-odds ${gene.logOdds.toFixed(2)}`;
}

function contigOption(row, drawn) {
  const features = readFeatures(drawn.gff3);
  const [lowest, highest] = placeInLanes(features);
  const end = Math.max(row.length, ...features.map(gene => gene.end));
  const lanes = 20 * (highest - lowest + 1);
  const tops = [20, 20 + lanes + 36, 20 + lanes + 36 + 150 + 36], heights = [lanes, 150, 70];
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
        value(0, "genes", { min: lowest - 0.6, max: highest + 0.6, scale: false, interval: 100, splitLine: { show: false },
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
      ],
    },
  };
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
