// What happens when: the page as it opens, and all that can be moved, chosen and saved.

const SHOWN_SHARES = 12; // samples
const PRINTED = 700; // px: the width of a page of A4 between its margins
const page = {};

function recount() {
  judge(page.data, page.settings);
  const { contigs, bases: sums, expectedFalse } = count(page.rows);
  CALLS.forEach((call, at) => {
    byId(`count-${call}`).textContent = number(contigs[at]);
    byId(`bases-${call}`).textContent = bases(sums[at]);
    byId(`label-${call}`).textContent = number(contigs[at]);
  });
  byId("label-provirus").textContent = number(page.proviruses.filter(isSought).length);
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
  if (rated.length > SHOWN_SHARES) texts.push(`${number(rated.length - SHOWN_SHARES)} more in the table of samples`);
  return texts.join(", ");
}

function redraw() {
  drawScores();
  if (byId("contig").open && page.data.drawn[page.open]) drawContig();
}

function settle() {
  recount();
  page.table.redraw(true);
  refilter();
  redraw();
}

function refilter() {
  readFilter();
  page.table.refreshFilter();
  const shown = page.table.getDataCount("active");
  byId("shown").textContent = `${number(shown)} row${shown === 1 ? "" : "s"} shown.`;
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = !shown;
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
  byId("reset").onclick = () => {
    form.reset();
    readSettings();
    settle();
  };
}

function filters() {
  const form = byId("filters"), sort = byId("sort");
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", event => event.target === sort || refilter());
  sort.onchange = () => page.table.setSort(...SORTS[sort.value]);
  byId("unfilter").onclick = () => {
    form.reset();
    page.table.setSort(...SORTS.likeliest);
    refilter();
  };
  for (const button of document.querySelectorAll("[data-save]")) button.onclick = () => saveShown(button.dataset.save);
}

function dialog() {
  byId("close").onclick = () => byId("contig").close();
  const step = by => () => {
    const row = neighbor(by);
    if (row) show(row, true);
  };
  byId("before").onclick = step(-1);
  byId("after").onclick = step(1);
  browse();
}

// A contig has an address, #contig=SAMPLE/CONTIG; the page opens what its address names.
function show(row, isStep = false) {
  makeCurrent(row);
  const { sample, id } = page.rows[row.opens];
  const address = `#contig=${encodeURIComponent(sample)}/${encodeURIComponent(id)}`;
  if (location.hash === address) openNamed();
  else if (isStep) location.replace(address);
  else location.hash = address;
}

function openNamed() {
  const [, sample, id] = location.hash.match(/^#contig=([^/]*)\/(.*)$/) ?? [];
  const row = id && page.rows.find(row => row.sample === decoded(sample) && row.id === decoded(id));
  if (row) openContig(row.index);
  else if (byId("contig").open) byId("contig").close();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch { // typed by hand
    return text;
  }
}

function addresses() {
  addEventListener("hashchange", openNamed);
  byId("contig").addEventListener("close", () => {
    if (location.hash.startsWith("#contig=")) history.replaceState(null, "", location.href.split("#")[0]);
  });
  openNamed();
}

function theme() {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  byId("theme").onclick = () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    redraw();
  };
  dark.addEventListener("change", redraw);
}

function printing() {
  const root = document.documentElement, closed = document.querySelectorAll("details:not([open])");
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    fillPlain();
    for (const one of closed) one.open = true;
    byId("histogram").innerHTML = histogram(binScores(page.rows), limits(page.data.samples), PRINTED);
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    for (const one of closed) one.open = false;
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
  page.proviruses = makeProviruses(page.data, page.rows);
  page.isRated = page.data.samples.some(sample => sample.share);
  document.body.classList.add("scripted");
  readSettings();
  recount();
  const pooled = new Set(page.data.samples.filter(sample => sample.isPooled).map(sample => sample.name));
  page.listed = [...page.rows, ...page.proviruses];
  for (const row of page.listed) {
    row.order = row.score === null ? -1 : +row.score.toFixed(4);
    row.isStored = pooled.has(row.sample) && Boolean(row.host || row.call === 0);
  }
  page.listed.sort((one, other) => other.order - one.order || other.length - one.length);
  readFilter();
  page.table = makeTable(page.listed, page.data.samples.map(sample => sample.name), page.isRated);
  await new Promise(done => page.table.on("tableBuilt", done));
  filters();
  controls();
  dialog();
  theme();
  printing();
  refilter();
  redraw();
  addEventListener("resize", () => {
    page.table.redraw(true);
    drawScores();
  });
  for (const button of document.querySelectorAll("[data-copy]")) button.onclick = () => copy(button);
  addresses();
  document.body.dataset.ready = "yes";
}

start();
