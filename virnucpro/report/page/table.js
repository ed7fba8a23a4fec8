// The table of viruses, proviruses and other contigs: what it shows, how keys move in it, and what is saved of it.

const SORTS = {
  likeliest: ["order", "desc"], longest: ["length", "desc"], genes: ["genes", "desc"], contig: ["id", "asc"], taxon: ["taxonomy", "asc"],
};
const PAGE_OF_ROWS = 12; // that page up and page down move by
const NARROW = matchMedia("(max-width: 800px)");

const fixed = value => (value === null ? "" : value.toFixed(4));
const taxa = row => row.taxonomy.split(";").filter(Boolean).join(" › ");
// The texts of a row, for the table and for paper.
const TEXTS = {
  label: row => row.label,
  contig: row => row.id,
  sample: row => row.sample,
  place: row => (row.host ? `${number(row.start)}–${number(row.end)}` : "whole contig"),
  length: row => number(row.length),
  topology: row => row.topology,
  taxon: row => row.taxon || row.virus,
  genes: row => number(row.genes),
  score: row => fixed(row.score),
  fdr: row => fixed(row.fdr),
  why: row => [row.reason, row.why].filter(Boolean).join("; "),
};

function element(name, text, more) {
  return Object.assign(document.createElement(name), { textContent: text, ...more });
}
const labelMark = label => element("span", label, { className: `call ${label}` });

// A text that may be cut off, and the whole of it on hover.
const titled = (title, whole = TEXTS[title]) => cell => {
  const row = cell.getData();
  return element("span", TEXTS[title](row), { title: whole(row) });
};

// On phones the label stands below the name.
function nameCell(cell) {
  const row = cell.getData(), box = element("span", "");
  box.append(element("span", row.id, { className: "link", title: row.id }), labelMark(row.label));
  return box;
}

function tableColumns(samples, isRated) {
  const number = { hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc" };
  const narrow = NARROW.matches;
  return [
    { title: "label", field: "label", visible: !narrow, width: 106, formatter: cell => labelMark(cell.getValue()) },
    { title: "contig", field: "id", minWidth: narrow ? 88 : 160, widthGrow: 2, responsive: 0, sorter: "alphanum", formatter: nameCell },
    { title: "sample", field: "sample", visible: samples.length > 1, minWidth: 96, responsive: 4, formatter: titled("sample") },
    { title: "place", field: "start", width: 186, responsive: 3, formatter: titled("place") },
    { title: "length", field: "length", width: narrow ? 72 : 94, responsive: 0, ...number },
    { title: "topology", field: "topology", width: 110, responsive: 5, formatter: titled("topology") },
    { title: "taxon", field: "taxonomy", minWidth: narrow ? 72 : 130, widthGrow: 1.5, formatter: titled("taxon", taxa) },
    { title: "genes", field: "genes", width: 96, responsive: 6, ...number },
    { title: "score", field: "order", width: narrow ? 64 : 82, responsive: 0, ...number },
    { title: "fdr", field: "fdr", visible: isRated, width: 78, responsive: 2, ...number },
    { title: "why", field: "why", minWidth: 160, widthGrow: 3, responsive: 7, headerSort: false, formatter: titled("why") },
  ].map(column => ({ formatter: cell => TEXTS[column.title](cell.getData()), headerSortStartingDir: "asc", ...(narrow && { headerSort: false }), ...column }));
}

// Proviruses are sought in contigs that are not viral.
const isSought = row => !row.host || row.host.call !== 0;

function isShown(row) {
  const { labels, words, sample, minLength, minScore, maxFdr } = page.filter;
  return labels.has(row.label) && isSought(row) && (!sample || row.sample === sample) && row.length >= minLength &&
    (!minScore || row.score >= minScore) && (maxFdr === null || (row.fdr !== null && row.fdr <= maxFdr)) &&
    (!words || isFound(row, words));
}

function readFilter() {
  const form = byId("filters").elements;
  page.filter = {
    labels: new Set([...document.querySelectorAll("[name=label]:checked")].map(box => box.value)),
    words: form.words.value.trim().toLowerCase(),
    sample: form.sample?.value ?? "",
    minLength: +form.minLength.value,
    minScore: +form.minScore.value,
    maxFdr: form.maxFdr?.value ? +form.maxFdr.value : null,
  };
}

function makeTable(rows, samples, isRated) {
  const table = new Tabulator("#table", {
    data: rows,
    index: "index",
    maxHeight: 560,
    autoResize: false, // it would draw all rows anew, and lose the focus, whenever the table comes into view
    keybindings: false,
    layout: "fitColumns",
    responsiveLayout: "hide",
    placeholder: "nothing is shown",
    initialFilter: isShown,
    rowFormatter: markCurrent,
    columnDefaults: { minWidth: 60, headerTooltip: true },
    columns: tableColumns(samples, isRated),
  });
  table.on("rowClick", (_, row) => show(row.getData()));
  table.on("tableBuilt", () => {
    const holder = document.querySelector("#table .tabulator-tableholder");
    holder.ariaLabel = "viruses and contigs: arrow keys move, Enter opens";
    holder.addEventListener("keydown", moveByKey);
  });
  NARROW.addEventListener("change", () => table.setColumns(tableColumns(samples, isRated)));
  return table;
}

function markCurrent(row) {
  const { index } = row.getData(), isCurrent = index === page.at;
  row.getElement().id = `row-${index}`;
  row.getElement().classList.toggle("current", isCurrent);
  row.getElement().ariaSelected = isCurrent;
}

const rowOf = index => index !== undefined && page.table.getRow(index);
function makeCurrent(row) {
  const before = rowOf(page.at);
  page.at = row.index;
  for (const one of [before, rowOf(row.index)]) if (one) markCurrent(one);
  document.querySelector("#table .tabulator-tableholder").setAttribute("aria-activedescendant", `row-${row.index}`);
}

function moveByKey(event) {
  const current = rowOf(page.at), last = page.table.getDataCount("active");
  const at = (current && current.getPosition()) || 0; // 0 if it is not shown
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: PAGE_OF_ROWS, PageUp: -PAGE_OF_ROWS, Home: -last, End: last };
  if (event.key === "Enter" && at) show(current.getData());
  else if (event.key in steps && last) {
    const row = page.table.getRowFromPosition(Math.max(1, Math.min(last, at + steps[event.key]))).getData();
    makeCurrent(row);
    page.table.scrollToRow(row.index, "nearest", false);
  } else return;
  event.preventDefault();
}

const shownRows = () => page.table.getRows("active").map(row => row.getData());

// The row before or after that of the open contig; one contig may have several.
function neighbor(by) {
  const rows = shownRows();
  let at = rows.findIndex(row => row.opens === page.open && row.index === page.at);
  if (at < 0) at = rows.findIndex(row => row.opens === page.open);
  do at += by; while (rows[at]?.opens === page.open);
  return rows[at];
}

// Viruses and proviruses, for paper.
function fillPlain() {
  const titles = [...document.querySelectorAll("#plain thead th")].map(cell => cell.textContent);
  const rows = page.listed.filter(row => (row.host ? isSought(row) : row.call === 0));
  const cell = (row, title) => element("td", title === "label" ? "" : TEXTS[title](row));
  document.querySelector("#plain tbody").replaceChildren(...rows.map(row => {
    const line = document.createElement("tr");
    line.append(...titles.map(title => cell(row, title)));
    line.firstChild.append(labelMark(row.label));
    return line;
  }));
  byId("plain-note").textContent = `${number(rows.length)} viruses and proviruses.`;
}

const asFile = {
  tsv: rows => [page.data.columns, ...rows.map(tsvValues)].map(values => values.join("\t") + "\n").join(""),
  bed: rows => rows.flatMap(bedLines).join(""),
  names: rows => rows.filter(row => row.isStored).map(row => row.name + "\n").join(""),
  fasta: rows => rows.filter(row => row.isStored).map(row => `>${row.name}\n${inLines(page.sequences[row.name])}`).join(""),
};

const inLines = letters => letters.replace(/.{1,60}/g, "$&\n");

function tsvValues(row) {
  const numbers = { contig: row.id, score: fixed(row.score), fdr: fixed(row.fdr) };
  return page.data.columns.map(name => numbers[name] ?? row[name]);
}

const escapeLetter = letter => `%${letter.charCodeAt().toString(16)}`;

// As `encode` of virnucpro.calling.result_files.
const encode = name => encodeURIComponent(name).replace(/[!'()]/g, escapeLetter)
  .replace(/%(3A|5E|24|40|2B|3F|7C)/g, decodeURIComponent).replace(/^(?=track|browser|visibility|chrom$|cram)./i, escapeLetter);

// BED counts from 0 and has no circles: a region across an origin is two lines.
function bedLines({ id, start, end, name, score, host }) {
  const length = host?.length ?? end;
  const parts = end > length ? [[start - 1, length], [0, end - length]] : [[start - 1, end]];
  return parts.map(([from, to]) => [encode(id), from, to, name, Math.round(1000 * score), "."].join("\t") + "\n");
}

async function saveShown(kind) {
  const rows = shownRows(), lacking = rows.filter(row => !row.isStored).length;
  if (kind === "fasta") page.sequences ??= await unpack(byId("sequences"));
  const needsSequences = ["fasta", "names"].includes(kind);
  byId("saved").textContent = needsSequences && lacking ? `${number(lacking)} of these are not in viral.fasta.gz.` : "";
  const name = kind === "names" ? "names.txt" : `viruses.${kind}`;
  save(name, "text/plain", asFile[kind](rows));
}
