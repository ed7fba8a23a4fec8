// What the page knows, and what follows from the settings. The contigs of a sample come sorted: the likeliest virus first,
// and last those that the classifier does not judge; no setting changes their order.

const CALLS = ["viral", "cellular", "unresolved"];
const SEARCHED = ["taxonomy", "virus", "closest", "closest_name", "functions", "why", "reason"]; // besides the name
const byId = id => document.getElementById(id);
const number = value => value.toLocaleString("en-US");
const percent = value => (value < 0.0995 ? (100 * value).toPrecision(2) : (100 * value).toFixed(1)) + " %";
const bases = value =>
  value >= 1e6 ? (value / 1e6).toFixed(2) + " Mb" : value >= 1e3 ? (value / 1e3).toFixed(1) + " kb" : value + " bp";

async function unpack(element) {
  const letters = atob(element.textContent), packed = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) packed[at] = letters.charCodeAt(at);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function makeRows(data) {
  const table = data.rows, named = Object.entries(table.names);
  for (const sample of data.samples) sample.rows = [];
  return table.id.map((id, index) => {
    const sample = data.samples[table.sample[index]];
    const length = table.length[index], logOdds = table.logOdds[index];
    const row = {
      index,
      opens: index,
      id,
      sample: sample.name,
      name: `${sample.name}|${id}`,
      start: 1,
      end: length,
      length,
      logOdds,
      score: logOdds === null ? null : expit(logOdds),
      genes: table.genes[index],
      proviruses: table.proviruses[index],
      code: table.code[index],
      unjudged: table.unjudged[index] < 0 ? "" : data.reasons[table.unjudged[index]],
    };
    for (const [name, values] of named) row[name] = values[index];
    row.taxon = lowestTaxon(row);
    sample.rows.push(row);
    return row;
  });
}

// Rows of proviruses, numbered after those of contigs. Each opens the contig that holds it.
function makeProviruses(data, rows) {
  return data.proviruses.map((values, at) => {
    const row = Object.fromEntries(data.columns.map((name, column) => [name, values[column]]));
    const host = rows[data.hosts[at]];
    for (const name of ["start", "end", "length", "genes", "score"]) row[name] = +row[name];
    return Object.assign(row, {
      index: rows.length + at, opens: host.index, host, id: row.contig, logOdds: logit(row.score), fdr: null,
      reason: "", functions: "", label: "provirus", taxon: lowestTaxon(row),
    });
  });
}

const lowestTaxon = row => row.taxonomy.split(";").findLast(Boolean) ?? "";

function isFound(row, words) {
  row.searched ??= [row.name, ...SEARCHED.map(name => row[name])].join("\n").toLowerCase();
  return row.searched.includes(words);
}

const logit = share => Math.log(share / (1 - share));
const expit = logOdds => 1 / (1 + Math.exp(-logOdds));

// As `share_of_viruses` of virnucpro.calling: the root of the likelihood's slope, by bisection.
function estimateShare(rows, { floor, fewest, defaultShare }) {
  if (rows.length < fewest) return defaultShare;
  const slope = share => rows.reduce((sum, row) => sum + expit(row.logOdds + logit(share)) - share, 0);
  let low = floor, high = 1 - floor;
  if (slope(low) <= 0) return low;
  if (slope(high) >= 0) return high;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (slope(middle) > 0) low = middle;
    else high = middle;
  }
  return low;
}

// The share changes with the shortest length, unless the page lacks some of the sample's contigs.
function shareOf(sample, rows, settings, estimation) {
  if (settings.prior !== null) return settings.prior;
  const again = settings.minLength !== null && sample.share.source === "estimated" && sample.isWhole;
  return again ? estimateShare(rows, estimation) : sample.share.value;
}

function cellularLimit(sample, length) {
  const later = sample.cellularTo.findIndex(([start]) => start > length);
  return sample.cellularTo.at(later < 0 ? -1 : Math.max(later - 1, 0))[1];
}

// As `label_contigs` of virnucpro.calling. A setting that is null is that of the run.
function judge(data, settings) {
  for (const sample of data.samples) {
    const shortest = settings.minLength ?? 0;
    for (const row of sample.rows) {
      row.reason = row.unjudged || (row.length < shortest ? `shorter than ${shortest} bases` : "");
      row.posterior = row.fdr = null;
      row.call = 2;
    }
    const rows = sample.rows.filter(row => !row.reason);
    if (sample.viralFrom === null) rateRows(sample, rows, shareOf(sample, rows, settings, data.estimation));
    const maxFdr = settings.maxFdr ?? sample.maxFdr;
    for (const row of rows) {
      const viral = sample.viralFrom === null ? row.fdr <= maxFdr && row.posterior > 0.5 : row.logOdds >= sample.viralFrom;
      row.call = viral ? 0 : row.logOdds <= cellularLimit(sample, row.length) ? 1 : 2;
      const far = row.fdr > maxFdr ? `fdr over ${+maxFdr.toPrecision(6)}` : "posterior not over 0.5";
      const doubt = row.posterior !== null && row.logOdds > 0 ? far : data.notClear;
      if (row.call === 2) row.reason = doubt;
    }
    for (const row of sample.rows) row.label = CALLS[row.call];
  }
}

function rateRows(sample, rows, share) {
  sample.shareNow = share;
  let falseCalls = 0;
  for (let first = 0, end; first < rows.length; first = end) {
    for (end = first; end < rows.length && rows[end].logOdds === rows[first].logOdds; end++) {
      rows[end].posterior = expit(rows[end].logOdds + logit(share));
      falseCalls += 1 - rows[end].posterior;
    }
    for (let at = first; at < end; at++) rows[at].fdr = falseCalls / end;
  }
}

function count(rows) {
  const counts = { contigs: [0, 0, 0], bases: [0, 0, 0], expectedFalse: 0 };
  for (const row of rows) {
    counts.contigs[row.call]++;
    counts.bases[row.call] += row.length;
    if (row.call === 0 && row.posterior !== null) counts.expectedFalse += 1 - row.posterior;
  }
  return counts;
}

// The log-odds from which contigs are called viral and up to which they are called cellular: each the lowest and the
// highest over samples and lengths, nothing if no contig has the call.
function limits(samples) {
  const range = values => (values.length ? [Math.min(...values), Math.max(...values)] : null);
  const viral = samples.map(sample => sample.viralFrom ?? sample.rows.findLast(row => row.call === 0)?.logOdds);
  const cellular = samples.flatMap(({ cellularTo }) => cellularTo.map(([, limit]) => limit));
  return { viral: range(viral.filter(value => value !== undefined)), cellular: range(cellular) };
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The colours of the style sheet as they are in the theme of the moment, for pictures that are saved.
function colour(name) {
  const probe = byId("probe");
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
