// Intervals and costs, drawn as SVG at the width there is, so that letters keep their size on a phone.
function canvas(id, height, label) {
  const width = Math.max(260, $(id).clientWidth);
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  $(id).replaceChildren(root);
  return { root, width };
}

// How far numbers lie apart, or their size where they differ by rounding alone: counting from one to the other in steps
// of such a difference would never end.
function spread(low, high) {
  const size = Math.max(Math.abs(low), Math.abs(high));
  return high - low > 1e-9 * size ? high - low : size || 1;
}

// Round numbers that cover a range.
function ticks(low, high, wanted = 5) {
  const span = spread(low, high);
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(i * step);
  return found;
}
const tickText = (value, all) => {
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : 1;
  const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  return number(value, Number((step * 10 ** digits).toFixed(6)) % 1 ? digits + 1 : digits);
};

function linear(low, high, from, to) {
  const span = spread(low, high);
  const scale = (value) => from + ((value - low) / span) * (to - from);
  scale.ticks = ticks(low, high);
  scale.text = (value) => tickText(value, scale.ticks);
  return scale;
}
function logarithmic(low, high, from, to) {
  const inner = linear(Math.log10(low), Math.log10(high), from, to);
  const scale = (value) => inner(Math.log10(value));
  scale.ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const one of Math.log10(high / low) < 1.2 ? [1, 2, 5] : [1]) {
      const value = one * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) scale.ticks.push(value);
    }
  }
  scale.text = (value) => value.toLocaleString("en", { maximumFractionDigits: 6 });
  return scale;
}
function padded(values, share = 0.06) {
  const known = values.filter((value) => value !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const more = spread(low, high) * share;
  return [low >= 0 && low - more < 0 ? 0 : low - more, high + more];
}
const hue = (cohort) => `c-${Math.max(0, task().cohorts.indexOf(cohort))}`;

function legend(id) {
  if (state.cohort !== "") return;
  $(id).prepend(el("p", { class: "legend" }, ...task().cohorts.map((cohort) =>
    el("span", { class: hue(cohort), text: cohortName(cohort) }))));
}

function drawIntervals() {
  const rows = sorted(kept()).filter((row) => row.value !== null);
  if (rows.length === 0) return void $("intervals").replaceChildren(nothing("Nothing to draw."));
  const systems = [...new Set(rows.map((row) => row.run.runner))];
  const many = state.cohort === "" ? task().cohorts.length : 1;
  const narrow = $("intervals").clientWidth < 560; // names stand above their lines there
  const line = (many > 1 ? 14 * many + 12 : narrow ? 22 : 30) + (narrow ? 20 : 0);
  const [top, foot] = [6, 26];
  const height = top + foot + line * systems.length;
  const { root, width } = canvas("intervals", height, `${metricName(state.metric)} with 95 % intervals of ${systems.length} systems; the leaderboard has the numbers`);
  const left = narrow ? 8 : Math.min(220, width * 0.24);
  const right = width - (narrow || many > 1 ? 12 : 62);
  const x = linear(...padded(rows.flatMap((row) => [row.value, row.low, row.high])), left, right);
  x.ticks.forEach((value) => root.append(
    svg("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - foot }),
    svg("text", { class: "axis", x: x(value), y: height - 8, "text-anchor": "middle" }, x.text(value))));
  systems.forEach((system, i) => {
    const middle = top + line * (i + 0.5) + (narrow ? 10 : 0);
    const name = narrow ? { x: 0, y: top + line * i + 14 } : { x: left - 14, y: middle + 4, "text-anchor": "end" };
    root.append(svg("text", { class: "label", ...name },
      shorten(system, Math.floor((narrow ? width - 80 : left - 14) / 8.2)), svg("title", {}, system)));
    rows.filter((row) => row.run.runner === system).forEach((row) => {
      const y = many > 1 ? middle + (task().cohorts.indexOf(row.cohort) - (many - 1) / 2) * 14 : middle;
      const group = svg("g", { class: `${hue(row.cohort)}${row.run.truth ? " hollow" : ""}` },
        svg("title", {}, `${system}, ${cohortName(row.cohort)}: ${number(row.value)} (${number(row.low)} to ${number(row.high)})`));
      if (row.low !== null) group.append(svg("line", { class: "bar", x1: x(row.low), x2: x(row.high), y1: y, y2: y }));
      group.append(svg("circle", { class: "dot", cx: x(row.value), cy: y, r: 5 }));
      root.append(group);
      if (many === 1) root.append(svg("text", { class: "figure", x: width - 2, y: narrow ? name.y : middle + 4, "text-anchor": "end" }, number(row.value)));
    });
  });
  legend("intervals");
}

function drawCost(id, of, unit) {
  const rows = kept().filter((row) => row.value !== null && of(row) !== null && of(row) > 0);
  if (rows.length === 0) return void $(id).replaceChildren(nothing("Nothing to draw."));
  const height = 320;
  const { root, width } = canvas(id, height, `${metricName(state.metric)} against ${unit}; the leaderboard has the numbers`);
  const [left, right, top, foot] = [52, width - 16, 14, height - 40];
  const costs = rows.map(of);
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  const x = most / least > 8 ? logarithmic(least / 1.6, most * 1.6, left, right) : linear(...padded(costs, 0.25), left, right);
  const y = linear(...padded(rows.map((row) => row.value), 0.1), foot, top);
  y.ticks.forEach((value) => root.append(
    svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg("text", { class: "axis", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, y.text(value))));
  x.ticks.forEach((value) => root.append(
    svg("text", { class: "axis", x: x(value), y: foot + 18, "text-anchor": "middle" }, x.text(value))));
  root.append(svg("text", { class: "axis", x: right, y: height - 4, "text-anchor": "end" }, unit));
  const points = rows.map((row) => ({ row, x: x(of(row)), y: y(row.value) }));
  points.forEach((point) => root.append(
    svg("g", { class: `${hue(point.row.cohort)}${point.row.run.truth ? " hollow" : ""}` },
      svg("title", {}, `${point.row.run.runner}: ${number(point.row.value)}, ${duration(of(point.row))} ${unit}`),
      svg("circle", { class: "dot", cx: point.x, cy: point.y, r: 5.5 }))));
  nameAll(root, points, { left, right, top, foot });
  legend(id);
}

// Names beside their points, where there is room; else as near as possible, with a line to the point.
function nameAll(root, points, box) {
  const taken = points.map((point) => ({ x: point.x - 6, y: point.y - 6, w: 12, h: 12 }));
  const free = (one) => one.x >= box.left && one.x + one.w <= box.right + 14 && one.y >= box.top - 12 && one.y + one.h <= box.foot
    && !taken.some((other) => one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h);
  const firsts = points.filter((point, i) => points.findIndex((one) => one.row.run.runner === point.row.run.runner) === i);
  const far = [];
  for (const away of [18, 32, 46, 60, 74]) far.push([12, -8 - away], [-12, -8 - away], [12, -8 + away], [-12, -8 + away]);
  const left = firsts.filter((point) => !place(point, [[9, -8], [-9, -8], [0, -23], [0, 8]], false));
  left.forEach((point) => place(point, far, true)); // a name that finds no room is still in the point's title

  function place(point, moves, leader) {
    const name = shorten(point.row.run.runner, 22);
    const w = name.length * 7.3 + 5;
    const spot = moves.map(([dx, dy]) => ({ x: point.x + (dx > 0 ? dx : dx < 0 ? dx - w : -w / 2), y: point.y + dy, w, h: 15 })).find(free);
    if (!spot) return false;
    taken.push(spot);
    const end = spot.x > point.x ? spot.x - 2 : spot.x + w + 2;
    if (leader) root.append(svg("line", { class: "leader", x1: point.x, y1: point.y, x2: end, y2: spot.y + 8 }));
    root.append(svg("text", { class: "label small", x: spot.x, y: spot.y + 12 }, name));
    return true;
  }
}
