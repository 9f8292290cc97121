// Which rating was said where which was due, for one system.
function drawMistakes() {
  const known = DATA.mistakes.filter((one) => one.task === state.task && (state.cohort === "" || one.cohort === state.cohort));
  const systems = [...new Set(known.map((one) => one.system))];
  $("mistakes-section").hidden = systems.length === 0;
  if (systems.length === 0) return void $("mistakes").replaceChildren();
  const system = systems.includes(state.rater) ? state.rater : systems.find((name) => !isTruth(name)) || systems[0];
  options($("rater"), systems.map((name) => [name, name]), system);
  const counts = Array.from({ length: 5 }, () => Array(6).fill(0));
  known.filter((one) => one.system === system).forEach((one) =>
    one.counts.forEach((row, due) => row.forEach((n, said) => { counts[due][said] += n; })));
  const silent = counts.some((row) => row[5] > 0);
  const said = ["1", "2", "3", "4", "5", ...(silent ? ["no answer"] : [])];
  const head = el("tr", {}, el("th", { scope: "col", class: "text", text: "Due" }),
    ...said.map((name) => el("th", { scope: "col" }, name === "no answer" ? name : `said ${name}`)));
  const body = counts.map((row, due) => {
    const all = row.reduce((sum, n) => sum + n, 0);
    return el("tr", {}, el("th", { scope: "row", class: "text" }, `${due + 1}`, el("small", { text: ` n ${count(all)}` })),
      ...said.map((_, place) => {
        const share = all === 0 ? 0 : row[place] / all;
        const cell = el("td", { title: `${count(row[place])} of ${count(all)}` }, all === 0 ? "–" : `${Math.round(100 * share)} %`);
        cell.style.setProperty("--share", share.toFixed(3));
        return cell;
      }));
  });
  $("mistakes").replaceChildren(el("caption", { class: "hidden", text: `Ratings said by ${system} where each was due` }),
    el("thead", {}, head), el("tbody", {}, ...body));
}
