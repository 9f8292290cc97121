// The browser of examples: whose answer was better, and what everybody said.
const ORDERS = [["won", "its wins"], ["lost", "its losses"], ["drawn", "drawn by lot"]];

// How much better the system in focus did than the others' mean; null where examples have no value of their own.
function margin(example, focus) {
  const metric = DATA.metrics[task().metric];
  const { systems } = DATA.examples[state.task];
  const mine = example.said.find((one) => systems[one.system] === focus);
  const others = example.said.filter((one) => systems[one.system] !== focus && one.value !== null && !isTruth(systems[one.system]));
  if (!metric.single || !mine || mine.value === null || others.length === 0) return null;
  const mean = others.reduce((sum, one) => sum + one.value, 0) / others.length;
  return (metric.higher ? 1 : -1) * (mine.value - mean);
}
const CEILINGS = new Set(DATA.runs.filter((run) => run.truth).map((run) => run.runner));
const isTruth = (name) => CEILINGS.has(name);

function setUpExamples() {
  $("focus").addEventListener("change", (event) => update({ focus: event.target.value, example: 0 }));
  $("rater").addEventListener("change", (event) => update({ rater: event.target.value }));
  $("order").addEventListener("change", (event) => update({ order: event.target.value, example: 0 }));
  $("family").addEventListener("change", (event) => update({ family: event.target.value }));
  $("list").addEventListener("keydown", (event) => {
    const buttons = [...$("list").querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (step && next) { event.preventDefault(); next.focus(); }
  });
}

function drawExamples() {
  const { systems, examples } = DATA.examples[state.task];
  const single = DATA.metrics[task().metric].single;
  const focus = systems.includes(state.focus) ? state.focus : systems.find((name) => !isTruth(name)) || systems[0];
  options($("focus"), systems.map((name) => [name, name]), focus);
  options($("order"), single ? ORDERS : [ORDERS[2]], single ? state.order : "drawn");
  const shown = examples.filter((one) => state.cohort === "" || one.cohort === state.cohort)
    .map((one) => ({ one, margin: margin(one, focus) }));
  const way = { won: -1, lost: 1, drawn: 0 }[single ? state.order : "drawn"];
  if (way === 0) shown.sort((left, right) => (right.one.why === "drawn") - (left.one.why === "drawn"));
  else shown.sort((left, right) => (left.margin === null) - (right.margin === null) || way * (left.margin - right.margin));
  $("examples-about").textContent = shown.length === 0 ? "No example of this cohort is in this page."
    : `${shown.length} examples: a third that the best system won most clearly, a third that it lost, a third drawn by lot. `
      + (single ? "A win is measured against the mean of all other systems, ceilings left out."
        : `${metricName(task().metric)} is a value of a whole set, so no single example is won or lost here.`);
  const at = Math.min(state.example, Math.max(0, shown.length - 1));
  $("list").replaceChildren(...shown.map(({ one, margin: by }, i) => entry(one, by, i, i === at)));
  $("example").replaceChildren(...(shown.length ? detail(shown[at].one, focus) : []));
}

function entry(example, by, i, current) {
  const verdict = by === null ? null : by > 1e-9 ? "win" : by < -1e-9 ? "loss" : "even";
  const past = example.history.slice(-4).map(([item]) => picture(item, ""));
  return el("li", {}, el("button", { type: "button", class: "entry", "aria-current": current ? "true" : null, "on:click": () => {
    update({ example: i });
    $("example").focus({ preventScroll: true });
    $("example").scrollIntoView({ block: "nearest" });
  } },
  el("span", { class: "row" }, el("span", { class: "who", text: example.query || shorten(example.user, 20) }),
    verdict ? el("span", { class: `verdict ${verdict}`, text: verdict === "even" ? "even" : `${verdict} ${by > 0 ? "+" : "−"}${Math.abs(by).toFixed(2)}` }) : null),
  el("span", { class: "row" }, el("span", { class: "strip", "aria-hidden": "true" }, ...past), el("span", { class: "cohort", text: cohortName(example.cohort) }))));
}

function picture(item, label) {
  const known = DATA.items[item];
  const address = known && known.picture !== null ? DATA.pictures[known.picture] : null;
  if (address) return el("img", { src: address, alt: label, width: 72, height: 72 });
  return el("span", { class: "blank", "aria-hidden": label ? null : "true", text: label ? "no picture" : "" });
}

function stars(rating) {
  if (rating === null || rating === undefined) return null;
  const whole = Math.round(rating);
  return el("span", { class: "stars" }, el("span", { "aria-hidden": "true", text: "★".repeat(whole) + "☆".repeat(Math.max(0, 5 - whole)) }),
    el("span", { class: "hidden", text: `${rating} of 5` }));
}

function card(item, { rating = null, text = null, mark = null, marks = "" } = {}) {
  const known = DATA.items[item];
  const title = (known && known.title) || item;
  const rest = known ? [known.brand, known.price === null ? null : `$${known.price.toFixed(2)}`].filter(Boolean).join(" · ") : "";
  return el("li", { class: `card ${marks}` }, picture(item, title),
    el("span", { class: "title data", text: title, title: known ? [title, ...known.path].join(" › ") : item }),
    rest ? el("span", { class: "rest data", text: rest }) : null, stars(rating),
    text ? el("q", { class: "data", text }) : null, mark ? el("span", { class: "tag", text: mark }) : null);
}

const part = (title, ...inside) => el("section", { class: "part" }, el("h4", { text: title }), ...inside);

function detail(example, focus) {
  const { kind } = task();
  const right = new Set(example.answer.items);
  const parts = [el("h3", {}, el("span", { class: "data", text: example.user }), el("small", { text: cohortName(example.cohort) }))];
  const earlier = example.earlier > 0 ? ` (the last ${example.history.length} of ${example.history.length + example.earlier})` : "";
  parts.push(part(`What the user had${earlier}`, el("ul", { class: "cards", "aria-label": "history, oldest first" },
    ...example.history.map(([item, rating, text]) => card(item, { rating, text })))));
  if (example.query !== null) parts.push(part("Query", el("p", { class: "query data", text: example.query })));
  if (example.target !== null) parts.push(part("Product in question", el("ul", { class: "cards" }, card(example.target))));
  if (example.candidates.length) parts.push(part("Candidates", el("ul", { class: "cards" },
    ...example.candidates.map((item) => card(item, right.has(item) ? { mark: "wanted", marks: "right" } : {})))));
  parts.push(part("Wanted (sealed)", answer(example, kind)));
  const said = [...example.said].sort((left, mine) =>
    (DATA.examples[state.task].systems[mine.system] === focus) - (DATA.examples[state.task].systems[left.system] === focus));
  parts.push(part("What each system said", el("ul", { class: "said" }, ...said.map((one) => line(one, example, kind, focus)))));
  return parts;
}

function answer(example, kind) {
  if (kind === "rating") return el("p", { class: "big" }, stars(example.answer.rating), ` ${example.answer.rating}`);
  if (kind === "text") return el("blockquote", { class: "data", text: example.answer.text });
  return el("ul", { class: "cards" }, ...example.answer.items.map((item) => card(item, { marks: "right" })));
}

function line(said, example, kind, focus) {
  const name = DATA.examples[state.task].systems[said.system];
  const metric = DATA.metrics[task().metric];
  const value = metric.single && said.value !== null
    ? el("span", { class: "value", text: `${metric.squared ? "squared error" : metricName(task().metric)} ${number(said.value, 2)}` }) : null;
  const head = el("span", { class: "row" }, el("span", { class: "name", text: name }),
    isTruth(name) ? el("span", { class: "chip", text: "ceiling" }) : null, value);
  return el("li", { class: name === focus ? "focus" : "" }, head, words(said, example, kind));
}

function words(said, example, kind) {
  const right = new Set(example.answer.items);
  if (kind === "rating" && said.rating !== undefined) return el("span", {}, stars(said.rating), ` ${said.rating.toFixed(2)}`);
  if (kind === "text" && said.text !== undefined) return el("span", { class: "data", text: said.text });
  if (kind === "image" && said.image !== undefined) {
    return said.image === null ? el("span", { class: "rest", text: "a picture that cannot be shown here" })
      : el("img", { src: DATA.pictures[said.image], alt: "generated picture", width: 96, height: 96 });
  }
  if (said.items !== undefined) {
    const where = said.rank === undefined ? null : said.rank === 0 ? `wanted item not among ${said.of}` : `wanted item at place ${said.rank}`;
    return el("span", {}, where ? el("span", { class: `where ${said.rank > 0 && said.rank <= 5 ? "good" : ""}`, text: where }) : null,
      said.items.length === 0 ? el("span", { class: "rest", text: "chose nothing" }) : el("ol", { class: "answers" }, ...said.items.map((item) => {
        const title = (DATA.items[item] && DATA.items[item].title) || item;
        return el("li", { class: right.has(item) ? "right" : "", title }, picture(item, title + (right.has(item) ? " (wanted)" : "")));
      })));
  }
  return el("span", { class: "rest", text: "no answer" });
}
