// Everything together: one state, drawn anew whenever it changes.
function draw() {
  drawTable();
  drawPlots();
  drawSlices();
  drawMistakes();
  drawExamples();
}
function drawPlots() {
  drawIntervals();
  drawCost("seconds", (row) => row.seconds, "seconds");
  drawCost("memory", (row) => row.run.peak_megabytes, "MB");
  drawRobustness();
  drawLearning();
}
function update(changes) {
  Object.assign(state, changes);
  draw();
}

function drawFacts() {
  const { meta } = DATA;
  $("dataset").textContent = meta.dataset;
  const amounts = Object.entries(meta.counts).map(([name, many]) => `${count(many)} ${name}`);
  const facts = [...amounts, `protocol ${meta.protocol}`, `split ${meta.split_hash.slice(0, 8)}`];
  $("facts").replaceChildren(...facts.map((text) => el("span", { text })));
  const left = DATA.pictures_left_out ? ` ${count(DATA.pictures_left_out)} pictures were left out to keep it small.` : "";
  $("foot").textContent = `Made by unimp-bench ${meta.version} from the runs on dataset ${meta.dataset_id}. This page fetches nothing and sends nothing.${left}`;
}

drawFacts();
setUpExamples();
setUpFilters();
let width = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  drawPlots();
});
