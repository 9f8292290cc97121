// What all parts share: the data, the state, and how elements are made. Text reaches the page as text and no other way.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

const COHORTS = { in_domain: "In-domain users", new_user: "New users", new_domain: "New domain" };
const METRIC_NAMES = { rmse: "RMSE", mae: "MAE", f1: "F1", kid: "KID", fid: "FID" };

const ROWS = DATA.rows.map((values) => {
  const row = {};
  DATA.columns.forEach((name, i) => { row[name] = values[i]; });
  row.run = DATA.runs[row.run];
  const { seconds_fit: fit, seconds_predict: predict } = row.run;
  row.seconds = fit === null && predict === null ? null : (fit || 0) + (predict || 0);
  return row;
});

const state = {
  task: DATA.tasks[0].name, cohort: "", metric: "", variant: "", find: "", truth: true,
  sort: "value", descending: null, family: "", focus: "", rater: "", order: "won", example: 0,
};

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on:")) node.addEventListener(name.slice(3), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const options = (select, pairs, chosen) => {
  select.replaceChildren(...pairs.map(([value, text]) => el("option", { value, text })));
  select.value = chosen;
};

const task = () => DATA.tasks.find((one) => one.name === state.task);
const higher = () => DATA.metrics[state.metric].higher;
const spoken = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
const cohortName = (name) => COHORTS[name] || spoken(name);
const metricName = (name) =>
  METRIC_NAMES[name] || name.replace(/^(hr|ndcg|mrr|map|rouge|bleu|fid|kid)/, (word) => word.toUpperCase())
    .replace(/_([12l])$/, (_, which) => "-" + which.toUpperCase()).replaceAll("_", " ");
const number = (value, digits = 4) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
const count = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const duration = (value) =>
  value === null ? "–" : value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : count(value);
// The head and the tail, where names of one system with other parameters differ.
const shorten = (text, most) => {
  if (text.length <= most) return text;
  const tail = Math.floor((most - 1) * 0.4);
  return text.slice(0, Math.max(1, most - 1 - tail)) + "…" + text.slice(text.length - tail);
};

// Rows that the filters leave, of one metric and variant.
function kept(changes = {}) {
  const want = { ...state, ...changes };
  const words = want.find.trim().toLowerCase().split(/[\s,]+/).filter(Boolean);
  return ROWS.filter((row) =>
    row.run.task === want.task && row.metric === want.metric && (want.cohort === "" || row.cohort === want.cohort) &&
    (want.variant === null || row.run.variant === want.variant) && (want.truth || !row.run.truth) &&
    (words.length === 0 || words.some((word) => row.run.runner.toLowerCase().includes(word))));
}

// A system's name, which may break after an underscore or a comma.
function breakable(name) {
  return name.split(/(?<=[_,])/).flatMap((piece) => [piece, el("wbr")]).slice(0, -1);
}

function nothing(text) {
  return el("p", { class: "nothing", text });
}
