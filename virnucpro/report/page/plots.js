// Pictures of all contigs.

const SYMBOLS = ["triangle", "circle", "rect"]; // of calls, for those who do not tell the colours apart

const charts = new Map(); // by the ids of their elements: what draws them
function draw(id, option, clicked) {
  const element = byId(id);
  let chart = echarts.getInstanceByDom(element);
  if (!chart) {
    chart = echarts.init(element);
    new ResizeObserver(() => chart.resize()).observe(element);
    chart.on("click", event => clicked && event.data && clicked(event.data.at(-1)));
  }
  chart.setOption(option, true);
  return chart;
}

const axis = name => ({
  name,
  nameLocation: "middle",
  nameGap: 28,
  nameTextStyle: { color: colour("ink") },
  axisLabel: { color: colour("muted") },
  axisLine: { lineStyle: { color: colour("muted") } },
  splitLine: { lineStyle: { color: colour("line") } },
});

const plain = () => ({
  animation: false,
  textStyle: { fontFamily: "inherit" },
  aria: { enabled: true },
  color: callColours(),
  legend: { textStyle: { color: colour("ink") }, top: 0, itemWidth: 10, itemHeight: 10 },
  grid: { left: 52, right: 16, top: 34, bottom: 46 },
  tooltip: { confine: true, formatter: event => contigTip(event.data.at(-1)) },
});

function contigTip(index) {
  const row = page.rows[index];
  const text = `${row.id}: ${number(row.length)} bp, ${CALLS[row.call]}, log-odds ${row.logOdds.toFixed(2)}`;
  return echarts.format.encodeHTML(text);
}

function bySeries(rows, point, large = true) {
  return CALLS.map((name, call) => ({
    name,
    type: "scatter",
    symbol: SYMBOLS[call],
    symbolSize: rows.length > 2000 ? 4 : 8,
    large,
    largeThreshold: 5000,
    itemStyle: { opacity: rows.length > 2000 ? 0.6 : 0.85 },
    data: rows.filter(row => row.call === call).map(point),
  }));
}

// For each class of lengths the log-odds up to which a contig is cellular. Those from which it is viral differ between
// samples, unless a fixed limit decides: there is a line only if there is one.
function limitLines(rows) {
  const samples = page.data.samples, lengths = rows.map(row => row.length);
  const [shortest, longest] = [Math.min, Math.max].map(choose => lengths.reduce((one, other) => choose(one, other)));
  const line = (name, call, from, to, logOdds) => [
    { name, coord: [from, logOdds], lineStyle: { color: colour(call) }, label: { formatter: name, position: "end" } },
    { coord: [to, logOdds] },
  ];
  const rules = new Map(samples.map(sample => [JSON.stringify(sample.cellularTo), sample.cellularTo])).values();
  const lines = [...rules].flatMap(classes => classes.flatMap(([start, limit], at) => {
    const [from, to] = [Math.max(start, shortest), Math.min(classes[at + 1]?.[0] ?? longest, longest)];
    return from < to ? [line(to < longest ? "" : "cellular up to", "cellular", from, to, limit)] : [];
  }));
  const { viralFrom } = samples[0];
  const isOne = samples.length === 1 || samples.every(sample => sample.viralFrom !== null);
  const limit = isOne ? viralFrom ?? rows.findLast(row => row.call === 0)?.logOdds : undefined;
  return limit === undefined ? lines : [...lines, line("viral from", "viral", shortest, longest, limit)];
}

function drawByLength() {
  const rows = page.rows.filter(row => row.length && !row.unjudged);
  const series = bySeries(rows, row => [row.length, row.logOdds, row.index]);
  series[0].markLine = {
    silent: true,
    symbol: "none",
    lineStyle: { type: "dashed", width: 1.5 },
    label: { color: colour("ink") },
    data: rows.length ? limitLines(rows) : [],
  };
  const label = { ...axis("length"), type: "log" };
  label.axisLabel = { ...label.axisLabel, formatter: bases };
  draw("by-length", { ...plain(), grid: { ...plain().grid, right: 100 }, xAxis: label, yAxis: { ...axis("log-odds"), nameGap: 34 }, series }, openContig);
}

// What is drawn a box or an outline around on the map is what the table shows.
function drawMap() {
  const { rows, x, y, axes } = page.data.map;
  const places = new Map(rows.map((row, at) => [row, [x[at], y[at], row]]));
  const series = bySeries(rows.map(row => page.rows[row]), row => places.get(row.index), false); // none that are large can be brushed
  const chart = draw("map", {
    ...plain(),
    xAxis: { ...axis(axes[0]), scale: true },
    yAxis: { ...axis(axes[1]), scale: true, nameGap: 34 },
    toolbox: { right: 10, iconStyle: { borderColor: colour("muted") } },
    brush: { toolbox: ["rect", "polygon", "clear"], xAxisIndex: 0, throttleType: "debounce", throttleDelay: 150 },
    series,
  }, openContig);
  chart.off("brushSelected");
  chart.on("brushSelected", ({ batch: [{ areas, selected }] }) => {
    const inside = selected.flatMap(({ seriesIndex, dataIndex }) => dataIndex.map(at => series[seriesIndex].data[at].at(-1)));
    const before = page.chosen;
    page.chosen = areas.length ? new Set(inside) : null;
    if (before || page.chosen) filterTable();
  });
}
