// The table of contigs.

let bars = null; // draws the small pictures of genes, one after the other

function geneBars(digits) {
  bars ??= echarts.init(null, null, { renderer: "svg", ssr: true, width: 86, height: 24 });
  const [viral, cellular] = callColours();
  const data = [...digits].map(digit => ({ value: +digit + 0.5, itemStyle: { color: +digit >= 5 ? viral : cellular } }));
  bars.setOption({
    animation: false,
    grid: { left: 0, right: 0, top: 1, bottom: 1 },
    xAxis: { type: "category", show: false },
    yAxis: { max: 10, show: false },
    series: [{ type: "bar", data, barCategoryGap: 1, barMaxWidth: 8 }],
  }, true);
  return bars.renderToSVGString();
}

function contigButton(cell) {
  const button = document.createElement("button");
  button.className = "link";
  button.textContent = cell.getValue();
  button.onclick = () => openContig(cell.getData().index);
  return button;
}

function callMark(cell) {
  const mark = document.createElement("span");
  mark.className = `call ${CALLS[cell.getValue()]}`;
  mark.textContent = CALLS[cell.getValue()];
  return mark;
}

// A text that may be cut off; the whole of a field, on hover.
const titled = whole => cell => {
  const text = document.createElement("span");
  text.textContent = cell.getValue();
  text.title = cell.getData()[whole];
  return text;
};

const atLeast = (wanted, value) => wanted === "" || (value ?? -Infinity) >= +wanted;
const minimum = { headerFilter: "number", headerFilterFunc: atLeast, headerFilterPlaceholder: "≥" };
const fixed = digits => cell => (cell.getValue() === null ? "" : cell.getValue().toFixed(digits));
const searching = field => ({
  headerFilter: "input",
  headerSortStartingDir: "asc",
  headerFilterFunc: (wanted, _, row) => row[field].toLowerCase().includes(wanted.toLowerCase()),
});
const choices = values => ({
  headerFilter: "list",
  headerFilterParams: { values: ["", ...values], clearable: true },
  headerFilterFunc: (wanted, value) => !wanted || value === wanted,
});

function makeTable(rows, samples, isRated) {
  const right = { hozAlign: "right", headerHozAlign: "right" };
  const reasons = () => ["", ...new Set(rows.map(row => row.reason))].filter((value, at) => !at || value);
  return new Tabulator("#table", {
    data: rows,
    index: "index",
    maxHeight: 560,
    autoResize: false, // it would draw all rows anew, and lose the focus, whenever the table comes into view
    layout: "fitColumns",
    responsiveLayout: "hide",
    placeholder: "no contig",
    columnDefaults: { minWidth: 90, headerSortStartingDir: "desc", headerTooltip: true },
    columns: [
      { title: "contig", field: "id", widthGrow: 3, minWidth: 200, formatter: contigButton, responsive: 0,
        ...searching("searched"), headerFilterPlaceholder: "search" },
      { title: "sample", field: "sample", responsive: 6, visible: samples.length > 1, ...choices(samples) },
      { title: "call", field: "call", responsive: 1, minWidth: 110, formatter: callMark, headerSortStartingDir: "asc",
        ...choices(CALLS), headerFilterFunc: (wanted, value) => !wanted || CALLS[value] === wanted },
      { title: "posterior", field: "posterior", responsive: 0, minWidth: 112, visible: isRated, formatter: fixed(4), ...right, ...minimum },
      { title: "fdr", field: "fdr", responsive: 1, minWidth: 84, visible: isRated, formatter: fixed(4), ...right,
        headerFilter: "number", headerFilterPlaceholder: "≤",
        headerFilterFunc: (wanted, value) => wanted === "" || (value !== null && value <= +wanted) },
      { title: "virus", field: "virus", responsive: 2, minWidth: 120, formatter: titled("virus"), ...searching("virus") },
      { title: "taxon", field: "taxon", responsive: 2, minWidth: 120, formatter: titled("taxonomy"),
        ...searching("taxonomy"), headerFilterPlaceholder: "any rank" },
      { title: "closest", field: "closest_name", responsive: 3, minWidth: 120, formatter: titled("closest_name"),
        ...searching("closest_name") },
      { title: "topology", field: "topology", responsive: 4, minWidth: 108, ...searching("topology") },
      { title: "length", field: "length", responsive: 2, minWidth: 96, formatter: cell => number(cell.getValue()), ...right, ...minimum },
      { title: "scores", field: "bars", responsive: 3, minWidth: 106, headerSort: false, print: false,
        formatter: cell => geneBars(cell.getValue()) },
      { title: "genes", field: "genes", responsive: 5, minWidth: 85, ...right, ...minimum },
      { title: "proviruses", field: "proviruses", responsive: 5, minWidth: 115, ...right, ...minimum },
      { title: "log-odds", field: "logOdds", responsive: 6, minWidth: 112, formatter: fixed(2), ...right, ...minimum },
      { title: "code", field: "code", responsive: 9, minWidth: 70, ...right },
      { title: "reason", field: "reason", responsive: 8, minWidth: 130, headerFilter: "list",
        headerFilterParams: { valuesLookup: reasons, clearable: true },
        headerFilterFunc: (wanted, value) => !wanted || value === wanted },
    ],
  });
}
