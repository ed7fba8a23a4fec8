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

function drawByLength() {
  const { viralFrom, cellularTo } = page.data;
  const shift = Math.log(page.settings.prior / (1 - page.settings.prior));
  const series = bySeries(page.rows.filter(row => row.length && !row.unjudged), row => [row.length, row.logOdds, row.index]);
  const line = (name, logOdds) => ({ name, yAxis: logOdds - shift, label: { formatter: name, position: "insideEndTop" } });
  series[0].markLine = {
    silent: true,
    symbol: "none",
    lineStyle: { color: colour("ink"), type: "dashed" },
    label: { color: colour("ink") },
    data: page.settings.line === "share" ? [] : [line("viral from", viralFrom), line("cellular up to", cellularTo)],
  };
  if (viralFrom - cellularTo < 1 && series[0].markLine.data.length) series[0].markLine.data[1].label.position = "insideEndBottom";
  const label = { ...axis("length"), type: "log" };
  label.axisLabel = { ...label.axisLabel, formatter: bases };
  draw("by-length", { ...plain(), xAxis: label, yAxis: { ...axis("log-odds"), nameGap: 34 }, series }, openContig);
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
