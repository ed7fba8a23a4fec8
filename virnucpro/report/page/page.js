// What happens when: the page as it opens, and all that can be moved, chosen and saved.

const SHOWN_SHARES = 12; // samples
const page = {};

function recount() {
  judge(page.data, page.settings);
  const { contigs, bases: sums, expectedFalse } = count(page.rows);
  CALLS.forEach((call, at) => {
    byId(`count-${call}`).textContent = number(contigs[at]);
    byId(`bases-${call}`).textContent = bases(sums[at]);
  });
  byId("save-ids").disabled = !contigs[0];
  if (!page.isRated) return;
  byId("expected-false").textContent = expectedFalse.toFixed(1);
  byId("expected-share").textContent = contigs[0] ? percent(expectedFalse / contigs[0]) : "none";
  byId("shares").textContent = describeShares();
  for (const button of document.querySelectorAll("[data-fdr]")) button.ariaPressed = button.dataset.fdr === byId("max-fdr").value;
}

// The share of each sample that the calls follow from; its interval is that of the run's estimate.
function describeShares() {
  if (page.settings.prior !== null) return percent(page.settings.prior);
  const rated = page.data.samples.filter(sample => sample.share);
  const texts = rated.slice(0, SHOWN_SHARES).map(({ name, share, shareNow }) => {
    const interval = `${percent(share.low)} to ${percent(share.high)}, estimated`;
    const source = share.source === "estimated" && shareNow === share.value ? interval : share.source;
    return `${rated.length > 1 ? `${name} ` : ""}${percent(shareNow)} (${source})`;
  });
  if (rated.length > SHOWN_SHARES) texts.push(`${number(rated.length - SHOWN_SHARES)} more in the table above`);
  return texts.join(", ");
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

// The value of a field; null if it is as in the run.
function changed(id) {
  const field = byId(id);
  return !field || field.value === field.defaultValue ? null : +field.value;
}

function readPrior(event) {
  const one = document.querySelector("[name=share][value=one]");
  if (event?.target.id === "prior-slider") byId("prior").value = +expit(+byId("prior-slider").value).toPrecision(3);
  if (event && ["prior", "prior-slider"].includes(event.target.id)) one.checked = true;
  const prior = +byId("prior").value;
  if (!(prior > 0 && prior < 1)) return NaN;
  if (event?.target.id !== "prior-slider") byId("prior-slider").value = logit(prior);
  return one.checked ? prior : null;
}

function readSettings(event) {
  const settings = { prior: page.isRated ? readPrior(event) : null, maxFdr: changed("max-fdr"), minLength: changed("min-length") };
  if (Number.isNaN(settings.prior)) return false;
  if (settings.maxFdr !== null) settings.maxFdr /= 100;
  page.settings = settings;
  return true;
}

function controls() {
  const form = byId("controls");
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", event => readSettings(event) && recount());
  form.addEventListener("change", event => readSettings(event) && settle());
  for (const button of document.querySelectorAll("[data-fdr]")) button.onclick = () => {
    byId("max-fdr").value = button.dataset.fdr;
    readSettings();
    settle();
  };
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
  browse();
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
  page.isRated = page.data.samples.some(sample => sample.share);
  document.body.classList.add("scripted");
  readSettings();
  recount();
  page.table = makeTable(page.rows, page.data.samples.map(sample => sample.name), page.isRated);
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
