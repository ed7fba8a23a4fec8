// What happens when: the page as it opens, and all that can be moved, chosen and saved.

const page = {};

function recount() {
  judge(page.rows, page.settings, page.data);
  const { contigs, bases: sums, expectedFalse } = count(page.rows);
  CALLS.forEach((call, at) => {
    byId(`count-${call}`).textContent = number(contigs[at]);
    byId(`bases-${call}`).textContent = bases(sums[at]);
  });
  byId("expected-false").textContent = expectedFalse.toFixed(1);
  byId("expected-share").textContent = contigs[0] ? percent(expectedFalse / contigs[0]) : "none";
  byId("save-ids").disabled = !contigs[0];
}

// Also the filters of the headers look again.
function filterTable() {
  if (page.chosen) page.table.setFilter(row => page.chosen.has(row.index));
  else page.table.clearFilter();
}

function redraw() {
  drawByLength();
  if (page.data.map) drawMap();
  if (byId("contig").open && page.data.drawn[page.open]) drawContig();
}

function settle() {
  recount();
  page.table.redraw(true);
  filterTable();
  redraw();
}

function readSettings(event) {
  const logOdds = value => Math.log(value / (1 - value));
  if (event?.target.id === "prior-slider") byId("prior").value = +(1 / (1 + Math.exp(-byId("prior-slider").value))).toPrecision(3);
  const prior = +byId("prior").value;
  if (!(prior > 0 && prior < 1)) return false;
  byId("prior-slider").value = logOdds(prior);
  page.settings = {
    prior,
    line: document.querySelector("[name=line]:checked").value,
    share: +byId("share").value / 100,
    minLength: +byId("min-length").value,
  };
  return true;
}

function controls() {
  const form = byId("controls");
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", event => readSettings(event) && recount());
  form.addEventListener("change", event => readSettings(event) && settle());
  byId("save-ids").onclick = () => {
    const viral = page.rows.filter(row => row.call === 0);
    const line = row => (page.data.samples.length > 1 ? `${row.sample}\t${row.id}` : row.id);
    save("viral_contigs.txt", "text/plain", viral.map(row => line(row) + "\n").join(""));
  };
  byId("reset").onclick = () => {
    form.reset();
    readSettings();
    settle();
  };
  byId("unfilter").onclick = () => {
    page.chosen = null;
    page.table.clearFilter(true);
    if (page.data.map) drawMap();
  };
}

function dialog() {
  byId("close").onclick = () => byId("contig").close();
  const step = by => () => {
    const shown = page.table.getRows("active").map(row => row.getData().index);
    const next = shown[shown.indexOf(page.open) + by];
    if (next !== undefined) openContig(next);
  };
  byId("before").onclick = step(-1);
  byId("after").onclick = step(1);
  byId("save-svg").onclick = () => save(`${page.rows[page.open].id}.svg`, "image/svg+xml", contigSvg());
  byId("save-gff3").onclick = () => save(`${page.rows[page.open].id}.gff3`, "text/plain", page.data.drawn[page.open].gff3);
}

function theme() {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  byId("theme").onclick = () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    redrawAll();
  };
  const redrawAll = () => {
    redraw();
    page.table.redraw(true);
  };
  dark.addEventListener("change", redrawAll);
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    redraw();
  });
}

async function copy(button) {
  const text = byId(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from disk may not be allowed to; what is selected can be copied by hand
    getSelection().selectAllChildren(byId(button.dataset.copy));
    document.execCommand("copy");
  }
  button.textContent = "copied";
  setTimeout(() => (button.textContent = "copy"), 1500);
}

async function start() {
  page.data = await unpack(byId("data"));
  page.rows = makeRows(page.data);
  document.body.classList.add("scripted");
  readSettings();
  recount();
  page.table = makeTable(page.rows, page.data.samples);
  await new Promise(done => page.table.on("tableBuilt", done));
  controls();
  dialog();
  theme();
  redraw();
  addEventListener("resize", () => page.table.redraw(true));
  for (const button of document.querySelectorAll("[data-copy]")) button.onclick = () => copy(button);
  document.body.dataset.ready = "yes";
}

start();
