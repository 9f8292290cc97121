// Learning curves of trained systems: what they recorded while they learned, stage by stage.
const MOST_LINES = 12;
const MOST_STEPS = 12; // rows of a table

function drawLearning() {
  const allowed = new Set(kept({ cohort: "", variant: null, metric: task().metric }).map((row) => row.run.runner));
  const lines = DATA.curves.filter((line) => line.tasks.includes(state.task) && allowed.has(line.runner)
    && line.values.some((value) => value !== null));
  const named = (line) => (lines.some((other) => other.runner === line.runner && other.seed !== line.seed) ? `${line.runner}, seed ${line.seed}` : line.runner);
  const names = [...new Set(lines.map(named))];
  const panels = new Map();
  lines.forEach((line) => {
    const title = `${spoken(line.stage)}: ${metricName(line.name)}`;
    const place = names.indexOf(named(line));
    if (place < MOST_LINES) panels.set(title, [...(panels.get(title) || []), { ...line, named: named(line), place }]);
  });
  $("learning-about").textContent = names.length === 0
    ? "No system that is left by the filters recorded what it learned; fits that train step by step do."
    : "What systems recorded while they learned, each on its own scale of steps. Losses of different systems are seldom of one kind."
      + (names.length > MOST_LINES ? ` The first ${MOST_LINES} of ${names.length} are drawn; the field Systems chooses others.` : "");
  $("learning").replaceChildren(...[...panels].map(([title, members], i) =>
    el("figure", {}, el("figcaption", { class: "data", text: title }), learningLegend(members),
      el("div", { class: "plot", id: `learning-${i}` }), learningTable(title, members))));
  [...panels].forEach(([title, members], i) => drawLearningPanel(`learning-${i}`, title, members));
}

const learningLegend = (members) => el("p", { class: "legend" },
  ...members.map((line) => el("span", { class: `s-${line.place % 8}`, text: line.named })));

function drawLearningPanel(id, title, members) {
  const height = 260;
  const { root, width } = canvas(id, height, `${title} of ${members.length} ${members.length === 1 ? "system" : "systems"} over steps; the table below has the numbers`);
  const [left, right, top, foot] = [58, width - 16, 12, height - 40];
  const steps = members.flatMap((line) => line.steps);
  const values = members.flatMap((line) => line.values).filter((value) => value !== null);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const x = linear(Math.min(...steps), Math.max(...steps), left, right);
  const y = least > 0 && most / least > 30 ? logarithmic(least / 1.2, most * 1.2, foot, top) : linear(...padded(values, 0.05), foot, top);
  y.ticks.forEach((value) => root.append(
    svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg("text", { class: "axis", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, y.text(value))));
  x.ticks.filter((value) => Number.isInteger(value)).forEach((value) => root.append(
    svg("text", { class: "axis", x: x(value), y: foot + 18, "text-anchor": "middle" }, count(value + 0)))); // -0 is 0
  root.append(svg("text", { class: "axis", x: right, y: height - 4, "text-anchor": "end" }, "step"));
  members.forEach((line) => {
    const points = line.steps.map((step, i) => ({ step, value: line.values[i] })).filter(({ value }) => value !== null);
    const group = svg("g", { class: `s-${line.place % 8}${line.truth ? " hollow" : ""}` },
      svg("polyline", { class: "curve", points: points.map(({ step, value }) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
    const dots = points.length <= 30 ? points : [points.at(-1)]; // a dot a point hides a long line
    dots.forEach(({ step, value }) => group.append(svg("circle", { class: "dot", cx: x(step), cy: y(value), r: 3.5 },
      svg("title", {}, `${line.named}, step ${count(step)}: ${number(value)}`))));
    root.append(group);
  });
}

// The same numbers for those who read rather than see: a few steps, and the last of every line.
function learningTable(title, members) {
  const all = [...new Set(members.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const most = Math.min(MOST_STEPS, all.length);
  const chosen = Array.from({ length: most }, (_, k) => all[Math.round((k * (all.length - 1)) / Math.max(1, most - 1))]);
  const steps = [...new Set([...chosen, ...members.map((line) => line.steps.at(-1))])].sort((a, b) => a - b);
  const head = el("tr", {}, el("th", { scope: "col", class: "text", text: "Step" }),
    ...members.map((line) => el("th", { scope: "col", text: line.named })));
  const body = steps.map((step) => el("tr", {}, el("th", { scope: "row", class: "text", text: count(step) }),
    ...members.map((line) => el("td", { text: number(line.steps.includes(step) ? line.values[line.steps.indexOf(step)] : null) }))));
  return el("details", {}, el("summary", { text: "As a table" }),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
      el("table", {}, el("caption", { class: "hidden", text: title }), el("thead", {}, head), el("tbody", {}, ...body))));
}
