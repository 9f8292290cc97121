// The leaderboard and the heat map of slices.
const COLUMNS = [
  { key: "system", name: "System", of: (row) => row.run.runner, text: true },
  { key: "cohort", name: "Cohort", of: (row) => cohortName(row.cohort), text: true, when: () => state.cohort === "" },
  { key: "value", name: () => metricName(state.metric), of: (row) => row.value, show: (row) => number(row.value), strong: true },
  { key: "low", name: "95 % interval", of: (row) => row.low,
    show: (row) => (row.low === null ? "–" : `${number(row.low)} to ${number(row.high)}`) },
  { key: "tier", name: "Tier", of: (row) => row.tier, best: "low",
    show: (row) => (row.tier === null ? "–" : `${row.tier}${row.letters ? ` ${row.letters}` : ""}`), when: (rows) => rows.some((row) => row.tier !== null) },
  { key: "deviation", name: "Over seeds", of: (row) => row.deviation, best: "low",
    show: (row) => (row.deviation === null ? "–" : `± ${number(row.deviation)}`),
    when: (rows) => rows.some((row) => row.deviation !== null) },
  { key: "n", name: "n", of: (row) => row.n, show: (row) => count(row.n) },
  { key: "unanswered", name: "Unanswered", of: (row) => row.unanswered, show: (row) => count(row.unanswered), best: "low",
    when: (rows) => rows.some((row) => row.unanswered > 0) },
  { key: "fit", name: "Fit s", of: (row) => row.run.seconds_fit, show: (row) => duration(row.run.seconds_fit), best: "low" },
  { key: "predict", name: "Answer s", of: (row) => row.run.seconds_predict,
    show: (row) => duration(row.run.seconds_predict), best: "low" },
  { key: "memory", name: "Peak MB", of: (row) => row.run.peak_megabytes,
    show: (row) => count(row.run.peak_megabytes), best: "low" },
  { key: "seeds", name: "Seeds", of: (row) => row.run.seeds, text: true, when: (rows) => rows.some((row) => row.run.seeds !== "0") },
  { key: "device", name: "Device", of: (row) => row.run.device, text: true,
    when: (rows) => rows.some((row) => row.run.device !== "cpu") },
];

const firstWay = (column) =>
  column.text || column.best === "low" ? false : column.key === "value" || column.key === "low" ? higher() : true;

function sorted(rows) {
  const column = COLUMNS.find((one) => one.key === state.sort);
  const descending = state.descending === null ? firstWay(column) : state.descending;
  return [...rows].sort((left, right) => {
    const [a, b] = [column.of(left), column.of(right)];
    if (a === null || b === null) return (a === null) - (b === null); // what is unknown stands last either way
    const order = column.text ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return (descending ? -order : order) || left.run.runner.localeCompare(right.run.runner, "en");
  });
}

function drawTable() {
  const rows = sorted(kept());
  const columns = COLUMNS.filter((column) => !column.when || column.when(rows));
  const way = state.descending === null ? firstWay(COLUMNS.find((one) => one.key === state.sort)) : state.descending;
  const heads = columns.map((column) => {
    const active = column.key === state.sort;
    const name = typeof column.name === "function" ? column.name() : column.name;
    const mark = el("span", { class: "mark", "aria-hidden": "true", text: active ? (way ? "↓" : "↑") : "" });
    const button = el("button", { type: "button", "data-key": column.key, "on:click": () => {
      update({ sort: column.key, descending: active ? !way : null });
      $("board").querySelector(`button[data-key="${column.key}"]`).focus();
    } }, name, mark);
    return el("th", { scope: "col", class: column.text ? "text" : "", "aria-sort": active ? (way ? "descending" : "ascending") : "none" }, button);
  });
  const body = rows.map((row) => el("tr", { class: row.run.truth ? "truth" : "" }, ...columns.map((column) =>
    column.key === "system" ? systemCell(row.run)
      : el("td", { class: column.text ? "text" : column.strong ? "strong" : "", text: column.show ? column.show(row) : column.of(row) }))));
  $("board").replaceChildren($("board").caption, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body));
  const shown = `${rows.length} ${rows.length === 1 ? "row" : "rows"}`;
  const scope = state.cohort === "" ? "all cohorts" : cohortName(state.cohort).toLowerCase();
  $("leaderboard-about").textContent = rows.length === 0 ? "No system is left by these filters."
    : `${spoken(state.task)}, ${scope}: ${shown}. ${metricName(state.metric)}: ${higher() ? "higher" : "lower"} is better. `
      + `An unanswered example is ${task().unanswered}.`
      + (rows.some((row) => row.letters) ? " Tiers come from paired tests with Holm's correction; systems that share a letter are not told apart." : "");
}

function systemCell(run) {
  const given = Object.entries(run.parameters).map(([name, value]) => `${name} ${JSON.stringify(value).replaceAll('"', "")}`);
  const title = [`version ${run.version}`, ...given, run.date, run.git_commit && `commit ${run.git_commit}`].filter(Boolean).join(" · ");
  return el("th", { scope: "row", class: "text", title }, el("span", { class: "name" }, ...breakable(run.runner)),
    run.truth ? el("span", { class: "chip", text: "ceiling", title: "reads the synthetic shop's truth: a bound, not a system" }) : null);
}

const FEW = 30; // examples below which a slice is too small to be called the worst
const FAMILIES = { history: "length of the history", popularity: "popularity of the wanted item", query: "frequency of the query",
  picture: "picture of the wanted item", domain: "domain", cohort: "cohort" };

function drawSlices() {
  const cohort = state.cohort === "" ? task().cohorts[0] : state.cohort;
  const blocks = DATA.slices.filter((one) => one.task === state.task && (one.cohort === "" || one.cohort === cohort) &&
    (one.family === "cohort" || one.slices.length > 1)); // one slice is the whole
  const block = blocks.find((one) => one.family === state.family) || blocks[0];
  options($("family"), blocks.map((one) => [one.family, FAMILIES[one.family] || spoken(one.family)]), block ? block.family : "");
  $("family-choice").hidden = blocks.length < 2;
  $("slices-about").textContent = "No run on data without noise.";
  if (!block) return void $("slices").replaceChildren();
  const inside = block.cohort !== "";
  const better = DATA.metrics[task().metric].higher;
  const allowed = new Set(kept({ metric: task().metric, cohort: "", variant: "" }).map((row) => row.run.runner));
  const systems = block.systems.map((name, i) => ({ name, mean: block.means[i], values: block.values[i] }))
    .filter((one) => allowed.has(one.name));
  $("slices-about").textContent = `${metricName(task().metric)}${inside ? ` of ${cohortName(cohort).toLowerCase()}` : ""} by ${FAMILIES[block.family] || block.family}. `
    + "The stronger the shade, the better among the systems of its column; columns differ in difficulty."
    + (inside ? ` Underlined: a system's worst slice of at least ${FEW} examples, a place to look at and not a test.` : "");
  const label = (name) => (block.family === "cohort" ? cohortName(name) : spoken(name));
  const head = el("tr", {}, el("th", { scope: "col", class: "text", text: "System" }),
    inside ? el("th", { scope: "col", text: "All" }) : null,
    ...block.slices.map((name, i) => el("th", { scope: "col" }, label(name), el("small", { text: `n ${count(block.n[i])}` }))));
  const body = systems.map((one) => {
    const large = one.values.map((value, i) => ({ value, i })).filter(({ value, i }) => value !== null && block.n[i] >= FEW);
    large.sort((left, right) => (better ? 1 : -1) * (left.value - right.value));
    const worst = inside && large.length > 1 ? large[0].i : null;
    return el("tr", {}, el("th", { scope: "row", class: "text" }, ...breakable(one.name)),
      inside ? el("td", { class: "whole", text: number(one.mean) }) : null,
      ...one.values.map((value, i) => heatCell(value, systems.map((other) => other.values[i]), better, i === worst)));
  });
  $("slices").replaceChildren(el("caption", { class: "hidden", text: "Value of each system in each slice" }),
    el("thead", {}, head), el("tbody", {}, ...body));
}

function heatCell(value, column, better, worst) {
  const known = column.filter((one) => one !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const share = value === null ? null : high === low ? 0.5 : (better ? value - low : high - value) / (high - low);
  const cell = el("td", {}, worst ? el("u", { text: number(value), title: "worst slice" }) : number(value));
  if (share !== null) cell.style.setProperty("--share", share.toFixed(3));
  return cell;
}
