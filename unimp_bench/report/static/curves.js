// How values change as attributes (NT) or pictures (NV) are lost.
const NOISE = { NT: "Attribute values lost (NT)", NV: "Pictures exchanged (NV)" };

function drawRobustness() {
  const rows = kept({ variant: null }).filter((row) => row.value !== null);
  const cohort = state.cohort === "" ? task().cohorts[0] : state.cohort;
  const panels = Object.keys(NOISE).map((kind) => ({ kind, lines: linesOf(kind, rows.filter((row) => row.cohort === cohort)) }))
    .filter((panel) => panel.lines.length > 0);
  $("robust-about").textContent = panels.length === 0
    ? "No run of this task on a noise variant. `unimp-bench build … --noise NT --noise NV`, then `unimp-bench run … --variant NT-0.2`, makes some."
    : `${metricName(state.metric)}, ${cohortName(cohort).toLowerCase()}, as more of what a system sees is lost at test time.`;
  $("robust").replaceChildren(...panels.map(({ kind }) =>
    el("figure", {}, el("figcaption", { text: NOISE[kind] }), el("div", { class: "plot", id: `robust-${kind}` }))));
  panels.forEach(({ kind, lines }) => drawCurves(`robust-${kind}`, kind, lines));
}

function linesOf(kind, rows) {
  const lines = new Map();
  for (const row of rows) {
    const found = row.run.variant === "" ? ["", kind, "0"] : row.run.variant.match(/^(NT|NV)-([0-9.]+)$/);
    if (!found || found[1] !== kind) continue;
    if (!lines.has(row.run.runner)) lines.set(row.run.runner, { name: row.run.runner, truth: row.run.truth, points: [] });
    lines.get(row.run.runner).points.push({ rate: Number(found[2]), row });
  }
  const all = [...lines.values()].filter((line) => line.points.some((point) => point.rate > 0));
  all.forEach((line) => line.points.sort((left, right) => left.rate - right.rate));
  return all;
}

function drawCurves(id, kind, lines) {
  const height = 300;
  const { root, width } = canvas(id, height, `${metricName(state.metric)} of ${lines.length} systems over noise rates`);
  const wide = Math.min(150, Math.max(...lines.map((line) => line.name.length)) * 7 + 18);
  const [left, right, top, foot] = [52, width - wide, 12, height - 40];
  const points = lines.flatMap((line) => line.points);
  const x = linear(0, Math.max(...points.map((point) => point.rate)), left, right);
  const y = linear(...padded(points.flatMap(({ row }) => [row.low, row.high, row.value]), 0.05), foot, top);
  y.ticks.forEach((value) => root.append(
    svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg("text", { class: "axis", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, y.text(value))));
  [...new Set(points.map((point) => point.rate))].forEach((rate) => root.append(
    svg("text", { class: "axis", x: x(rate), y: foot + 18, "text-anchor": "middle" }, rate === 0 ? "clean" : `${Math.round(rate * 100)} %`)));
  root.append(svg("text", { class: "axis", x: right, y: height - 4, "text-anchor": "end" }, "share lost"));
  const ends = lines.map((line, i) => ({ line, i, y: y(line.points.at(-1).row.value) })).sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => { if (i > 0) end.y = Math.max(end.y, ends[i - 1].y + 15); });
  lines.forEach((line, i) => {
    const at = (point) => `${x(point.rate).toFixed(1)},${y(point.row.value).toFixed(1)}`;
    const group = svg("g", { class: `s-${i % 8}${line.truth ? " hollow" : ""}` },
      svg("polyline", { class: "curve", points: line.points.map(at).join(" ") }));
    line.points.forEach((point) => {
      if (point.row.low !== null) group.append(svg("line", { class: "whisker", x1: x(point.rate), x2: x(point.rate), y1: y(point.row.low), y2: y(point.row.high) }));
      group.append(svg("circle", { class: "dot", cx: x(point.rate), cy: y(point.row.value), r: 4 },
        svg("title", {}, `${line.name}, ${kind} ${point.rate}: ${number(point.row.value)}`)));
    });
    root.append(group);
  });
  ends.forEach(({ line, i, y: place }) => root.append(svg("text", { class: `label small s-${i % 8}`, x: right + 10, y: place + 4 },
    shorten(line.name, Math.floor((wide - 10) / 6.6)), svg("title", {}, line.name))));
}
