// The histogram of scores. Its colors are those of the style sheet, so it needs no other drawing in the dark or on paper.

const CLIP = 7, BIN = 0.5; // log-odds: the ends of the axis, and the width of a bar
const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]; // scores
const STACK = ["cellular", "unresolved", "viral"]; // from below
const MARGIN = { left: 58, right: 14, top: 40, bottom: 44 }, HEIGHT = 330; // px

const scoreText = logOdds => String(+expit(logOdds).toPrecision(expit(logOdds) > 0.9 ? 4 : 2));
const clipped = logOdds => Math.max(-CLIP, Math.min(CLIP, logOdds));
const escaped = text => text.replace(/[&<>"]/g, letter => `&#${letter.charCodeAt()};`);

// The numbers of contigs of each call, by bars from the left.
function binScores(rows) {
  const counts = Object.fromEntries(STACK.map(call => [call, Array((2 * CLIP) / BIN).fill(0)]));
  for (const { label, logOdds } of rows) {
    if (logOdds !== null) counts[label][Math.min((2 * CLIP) / BIN - 1, Math.floor((clipped(logOdds) + CLIP) / BIN))]++;
  }
  return counts;
}

// Steps of 1, 2 or 5 times a power of ten: three to seven up to the highest value.
function stepsTo(highest) {
  const power = 10 ** Math.floor(Math.log10(Math.max(highest, 1) / 3));
  const step = Math.max(1, [1, 2, 5, 10].map(one => one * power).find(one => highest / one <= 7));
  return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, at) => at * step);
}

function histogram(counts, limits, width) {
  const highest = Math.max(1, ...counts.viral.map((_, at) => STACK.reduce((sum, call) => sum + counts[call][at], 0)));
  const steps = stepsTo(highest), bottom = HEIGHT - MARGIN.bottom, right = width - MARGIN.right;
  const x = logOdds => MARGIN.left + ((logOdds + CLIP) / (2 * CLIP)) * (right - MARGIN.left);
  const y = value => bottom - (value / steps.at(-1)) * (bottom - MARGIN.top);
  const text = (left, top, anchor, words, more = "") => `<text x="${left}" y="${top}" text-anchor="${anchor}" ${more}>${escaped(words)}</text>`;
  const parts = steps.map(value =>
    `<path class="grid" d="M${MARGIN.left} ${y(value)}H${right}"/>` + text(MARGIN.left - 8, y(value) + 4, "end", number(value)));
  const sums = counts.viral.map(() => 0), wide = x(BIN) - x(0) - 1.5;
  for (const call of STACK) {
    counts[call].forEach((value, at) => {
      const from = at * BIN - CLIP, top = y(sums[at] += value);
      const tip = `${number(value)} ${call}, score ${scoreText(from)} to ${scoreText(from + BIN)}`;
      if (value) parts.push(`<rect class="${call}" x="${x(from) + 0.75}" y="${top}" width="${wide}" height="${y(sums[at] - value) - top}"><title>${tip}</title></rect>`);
    });
  }
  for (const score of TICKS) {
    const at = x(logit(score));
    parts.push(`<path class="axis" d="M${at} ${bottom}v5"/>`, text(at, bottom + 19, "middle", String(score)));
  }
  parts.push(`<path class="axis" d="M${MARGIN.left} ${bottom}H${right}"/>`, text(x(0), HEIGHT - 6, "middle", "score"));
  parts.push(text(14, (MARGIN.top + bottom) / 2, "middle", "contigs", `transform="rotate(-90 14 ${(MARGIN.top + bottom) / 2})"`));
  for (const [call, words, anchor] of [["cellular", "cellular up to", "end"], ["viral", "viral from", "start"]]) {
    if (!limits[call]) continue;
    const [low, high] = limits[call].map(value => x(clipped(value)));
    parts.unshift(`<rect class="${call} range" x="${low}" y="${MARGIN.top}" width="${high - low}" height="${bottom - MARGIN.top}"/>`);
    for (const at of new Set([low, high])) parts.push(`<path class="${call} limit" d="M${at} ${MARGIN.top - 8}V${bottom}"/>`);
    parts.push(text(call === "viral" ? low - 4 : high + 4, MARGIN.top - 14, anchor, words));
  }
  return `<svg viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label="histogram of the scores of contigs, by their labels">${parts.join("")}</svg>`;
}

function describeLimits({ viral, cellular }) {
  const range = values => [...new Set(values.map(scoreText))].join(" to ");
  const texts = [
    viral && `Contigs are called viral from a score of ${range(viral)}${viral[0] < viral[1] ? ", depending on the sample" : ""}.`,
    cellular && `They are called cellular up to ${range(cellular)}${cellular[0] < cellular[1] ? ", depending on the length" : ""}.`,
  ];
  return texts.filter(Boolean).join(" ");
}

function drawScores() {
  const found = limits(page.data.samples);
  byId("histogram").innerHTML = histogram(binScores(page.rows), found, Math.max(300, byId("histogram").clientWidth));
  byId("limits").textContent = describeLimits(found);
}
