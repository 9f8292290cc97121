// The filters above all sections.
function setUpFilters() {
  for (const { name } of DATA.tasks) {
    const input = el("input", { type: "radio", name: "task", id: `task-${name}`, value: name, checked: name === state.task,
      "on:change": () => chooseTask(name) });
    $("tasks").append(input, el("label", { for: `task-${name}`, text: spoken(name) }));
  }
  $("cohort").addEventListener("change", (event) => update({ cohort: event.target.value }));
  $("metric").addEventListener("change", (event) =>
    update({ metric: event.target.value, sort: "value", descending: null }));
  $("variant").addEventListener("change", (event) => update({ variant: event.target.value }));
  $("find").addEventListener("input", (event) => update({ find: event.target.value }));
  $("truth").addEventListener("change", (event) => update({ truth: event.target.checked }));
  $("truth-label").hidden = !DATA.runs.some((run) => run.truth);
  chooseTask(state.task);
}

function chooseTask(name) {
  const changes = { task: name, example: 0, sort: "value", descending: null };
  const { cohorts, metrics, metric } = DATA.tasks.find((one) => one.name === name);
  const variants = [...new Set(DATA.runs.filter((run) => run.task === name).map((run) => run.variant))].sort();
  changes.cohort = state.cohort !== "" && !cohorts.includes(state.cohort) ? cohorts[0] : state.cohort;
  if (state.metric === "") changes.cohort = cohorts[0];
  changes.metric = metrics.includes(state.metric) ? state.metric : metrics.includes(metric) ? metric : metrics[0];
  changes.variant = variants.includes(state.variant) ? state.variant : variants[0];
  options($("cohort"), [...cohorts.map((one) => [one, cohortName(one)]), ["", "All cohorts"]], changes.cohort);
  options($("metric"), metrics.map((one) => [one, metricName(one)]), changes.metric);
  options($("variant"), variants.map((one) => [one, one === "" ? "none" : one]), changes.variant);
  $("variant-label").hidden = variants.length < 2;
  update(changes);
  const [bar, chosen] = [$("tasks"), $(`task-${name}`).nextElementSibling];
  bar.scrollLeft = chosen.offsetLeft - (bar.clientWidth - chosen.clientWidth) / 2; // in sight where the bar is too narrow
}
