// What the page knows, and what follows from the prior. Rows come sorted: the likeliest virus first, and last those that
// the classifier does not judge; no prior changes their order.

const CALLS = ["viral", "cellular", "unresolved"];
const NOT_CLEAR = "not clear enough";
const byId = id => document.getElementById(id);
const number = value => value.toLocaleString("en-US");
const percent = value => (value < 0.0995 ? (100 * value).toPrecision(2) : (100 * value).toFixed(1)) + " %";
const bases = value =>
  value >= 1e6 ? (value / 1e6).toFixed(2) + " Mb" : value >= 1e3 ? (value / 1e3).toFixed(1) + " kb" : value + " bp";

async function unpack(element) {
  const packed = Uint8Array.from(atob(element.textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function makeRows(data) {
  const table = data.rows;
  return table.id.map((id, index) => ({
    index,
    id,
    sample: data.samples[table.sample[index]],
    length: table.length[index],
    logOdds: table.logOdds[index],
    genes: table.genes[index],
    proviruses: table.proviruses[index],
    code: table.code[index],
    bars: table.bars[index],
    unjudged: table.unjudged[index] < 0 ? "" : data.reasons[table.unjudged[index]],
  }));
}

// As `decide` and `false_shares` of virnucpro.calling do.
function judge(rows, settings, thresholds) {
  const shift = Math.log(settings.prior / (1 - settings.prior));
  let falseCalls = 0, count = 0;
  for (let first = 0, end; first < rows.length; first = end) {
    end = first + 1; // of the rows that are equally likely
    while (end < rows.length && rows[end].logOdds === rows[first].logOdds) end++;
    const tied = rows.slice(first, end);
    for (const row of tied) {
      const short = row.length < settings.minLength ? `shorter than ${settings.minLength} bases` : "";
      row.reason = row.unjudged || short;
      row.posterior = row.logOdds === null ? null : 1 / (1 + Math.exp(-(row.logOdds + shift)));
      if (!row.reason) {
        falseCalls += 1 - row.posterior;
        count++;
      }
    }
    for (const row of tied) {
      row.falseShare = row.reason ? null : falseCalls / count;
      const logOdds = row.logOdds + shift;
      const viral = settings.line === "share" ? row.falseShare <= settings.share : logOdds >= thresholds.viralFrom;
      row.call = row.reason ? 2 : viral ? 0 : logOdds <= thresholds.cellularTo ? 1 : 2;
      if (row.call === 2) row.reason ||= NOT_CLEAR;
    }
  }
}

function count(rows) {
  const counts = { contigs: [0, 0, 0], bases: [0, 0, 0], expectedFalse: 0 };
  for (const row of rows) {
    counts.contigs[row.call]++;
    counts.bases[row.call] += row.length;
    if (row.call === 0) counts.expectedFalse += 1 - row.posterior;
  }
  return counts;
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The colours of the style sheet as they are in the theme of the moment: a canvas cannot resolve variables.
function colour(name) {
  const probe = byId("probe");
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
const callColours = () => CALLS.map(colour);
