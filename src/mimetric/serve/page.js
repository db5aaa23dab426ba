// Ask the server that this page came from, and show what it finds.  Nothing else is asked of any network.

const by = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 2 : 1)} %`;
const LARGEST = 10 * 2 ** 20; // bytes of a picture, as the server has it
const START = 0.01; // share of pairs of two classes that the first threshold accepts

let run; // what is served
let query = null; // {field, value, shown}: what was asked last
let answer = null; // what came back
let asking = 0; // the newest question: answers to older ones are dropped
let draw = 0;

function element(name, options = {}, ...children) {
  const made = Object.assign(document.createElement(name), options);
  made.append(...children);
  return made;
}

async function fetched(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is mimetric serve still running?");
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.detail ?? `The server said ${response.status}.`);
  return found;
}

const model = () => run.models.find((one) => one.name === by("model").value);
const named = (item) => [item.item, item.label].filter(Boolean).join(", ") || item.id;

// Asking.

async function ask(next = query) {
  query = next;
  if (!query) return;
  const mine = ++asking;
  const form = new FormData();
  form.append(query.field, query.value);
  form.append("model", by("model").value);
  form.append("k", by("count").value);
  form.append("explain", by("regions").checked);
  try {
    if (query.value.size > LARGEST) throw new Error("image: at most 10 MB are taken; make the picture smaller");
    const found = await fetched("/api/search", { method: "POST", body: form });
    if (mine === asking) show(found);
  } catch (error) {
    if (mine !== asking) return;
    answer = null;
    by("answer").hidden = true;
    say(error.message, true);
  }
}

function say(text, fault = false) {
  by("said").textContent = text;
  by("said").classList.toggle("fault", fault);
}

const askItem = (number) => ask({ field: "item", value: String(number), shown: `/api/items/${number}/picture` });

function askFile(file) {
  if (!file) return;
  if (query?.made) URL.revokeObjectURL(query.shown);
  ask({ field: "image", value: file, shown: URL.createObjectURL(file), made: true });
}

// Showing.

function picture(url, heat) {
  const image = element("img", { src: url, alt: "" });
  const box = element("span", { className: "shown" }, image);
  image.addEventListener("load", () => box.classList.toggle("tiny", image.naturalWidth <= 48));
  if (heat) {
    box.classList.add("gray");
    box.append(heated(heat));
  }
  return box;
}

// Red above 0, blue below, the fainter the nearer to 0; smooth between places.
function heated(heat) {
  const small = element("canvas", { width: heat[0].length, height: heat.length });
  const strongest = Math.max(...heat.flat().map(Math.abs)) || 1;
  const context = small.getContext("2d");
  const pixels = context.createImageData(small.width, small.height);
  heat.flat().forEach((value, place) => {
    const color = value > 0 ? [214, 40, 60] : [40, 95, 215];
    pixels.data.set([...color, 200 * Math.abs(value) / strongest], 4 * place);
  });
  context.putImageData(pixels, 0, 0);
  const large = element("canvas", { width: 96, height: 96 });
  const drawn = large.getContext("2d");
  drawn.imageSmoothingQuality = "high";
  drawn.drawImage(small, 0, 0, large.width, large.height);
  return large;
}

function show(found) {
  answer = found;
  const words = run.kind !== "images";
  const shown = words ? query.value : picture(query.shown);
  const about = found.query ? `Test item ${found.query.number}: ${named(found.query)}` : words ? `Query: ${shown}` : "Your picture";
  by("asked").replaceChildren(...(words ? [] : [shown]), element("p", { className: "small", textContent: about }));
  by("found").classList.toggle("words", words);
  by("found").replaceChildren(...found.neighbors.map(neighbor));
  by("legend").hidden = !found.neighbors.some((one) => one.why);
  by("unknown").hidden = words || model().explains;
  by("answer").hidden = false;
  for (const button of by("items").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.number === String(found.query?.number)));
  }
  decide();
}

function neighbor(one) {
  const entry = element("li");
  entry.dataset.score = one.score;
  const url = `/api/items/${one.number}/picture`;
  if (run.kind === "images" && one.number !== null) {
    entry.append(one.why
      ? element("span", { className: "pair" }, picture(query.shown, one.why.query), picture(url, one.why.neighbor))
      : picture(url));
  }
  const own = answer.query?.label;
  const right = own && one.label ? (own === one.label ? " (the query's class)" : " (another class)") : "";
  entry.append(
    element("p", {}, `${one.rank}. ${named(one)}${right}`),
    element("p", { className: "score" }, `cosine ${one.score.toFixed(3)}, `, element("span", { className: "decision" })),
  );
  return entry;
}

// The threshold: what it does to the neighbors, and to all pairs of known classes.

function decide() {
  const limit = Number(by("threshold").value);
  by("cosine").textContent = limit.toFixed(3);
  let accepted = 0;
  for (const entry of by("found").children) {
    const yes = Number(entry.dataset.score) >= limit;
    accepted += yes;
    entry.classList.toggle("accepted", yes);
    entry.querySelector(".decision").textContent = yes ? "accepted" : "rejected";
  }
  if (answer) say(`${accepted} of ${answer.neighbors.length} neighbors are accepted at a threshold of ${limit.toFixed(2)}.`);
  const { rates } = model();
  if (!rates) return;
  const at = Math.round(((limit + 1) / 2) * (rates.thresholds.length - 1));
  by("same").textContent = percent(rates.same[at]);
  by("missed").textContent = percent(1 - rates.same[at]);
  by("different").textContent = percent(rates.different[at]);
  by("refused").textContent = percent(1 - rates.different[at]);
  const line = by("curve").querySelector(".threshold");
  for (const end of ["x1", "x2"]) line.setAttribute(end, across(limit));
}

const across = (cosine) => 38 + 225 * (cosine + 1);
const up = (share) => 130 - 110 * share;

function curves(rates) {
  const drawn = (name) =>
    `<polyline class="curve ${name}" points="${rates.thresholds.map((x, i) => `${across(x).toFixed(1)},${up(rates[name][i]).toFixed(1)}`).join(" ")}"/>`;
  const levels = [0, 0.5, 1].map((y) =>
    `<line class="grid" x1="38" x2="488" y1="${up(y)}" y2="${up(y)}"/><text x="33" y="${up(y) + 5}" text-anchor="end">${100 * y}</text>`);
  const ticks = [-1, -0.5, 0, 0.5, 1].map((x) => `<text x="${across(x)}" y="149" text-anchor="middle">${x}</text>`);
  by("curve").innerHTML = `<svg viewBox="0 0 500 174" role="img" aria-label="Accepted pairs against the threshold, of one class and of two">
    ${levels.join("")}${ticks.join("")}<text x="263" y="168" text-anchor="middle">threshold</text><text x="0" y="11">% accepted</text>
    ${drawn("same")}${drawn("different")}<line class="threshold" y1="16" y2="132"/></svg>
    <figcaption><span class="key same">pairs of one class</span> &nbsp; <span class="key different">pairs of two classes</span></figcaption>`;
}

function chosen() {
  const { rates, explains } = model();
  by("why").hidden = !explains;
  by("rates").hidden = !rates;
  by("counted").textContent = rates
    ? `Counted over all pairs of ${rates.items.toLocaleString("en")} items whose classes are known.`
    : "How often a threshold is right is not known here: there are no pairs of known classes.";
  if (rates) {
    curves(rates);
    const first = rates.different.findIndex((share) => share <= START);
    by("threshold").value = rates.thresholds[first];
  } else by("threshold").value = 0.5;
  decide();
  ask();
}

// Test items to pick.

async function items() {
  const found = await fetched(`/api/items?draw=${draw}&most=12`);
  by("items").classList.toggle("words", run.kind !== "images");
  by("items").replaceChildren(...found.map((one) => {
    const button = element("button", { type: "button", title: `test item ${one.number}` });
    button.dataset.number = one.number;
    if (run.kind === "images") button.append(element("img", { src: `/api/items/${one.number}/picture`, alt: "" }));
    button.append(run.kind === "images" ? named(one) : one.item ? named(one) : `${one.number}: ${named(one)}`);
    button.addEventListener("click", () => askItem(one.number));
    return element("li", {}, button);
  }));
}

// The controls.

function listen() {
  by("model").addEventListener("change", chosen);
  by("threshold").addEventListener("input", decide);
  by("count").addEventListener("change", () => ask());
  by("regions").addEventListener("change", () => ask());
  by("others").addEventListener("click", () => { draw += 1; items().catch((error) => say(error.message, true)); });
  by("number").addEventListener("change", () => { if (by("number").value !== "") askItem(by("number").value); });
  by("file").addEventListener("change", () => askFile(by("file").files[0]));
  by("words").addEventListener("submit", (event) => {
    event.preventDefault();
    ask({ field: run.kind === "texts" ? "text" : "numbers", value: by("typed").value });
  });
  if (run.kind !== "images") return;
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      by("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") askFile(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("paste", (event) => askFile(event.clipboardData.files[0]));
}

async function begin() {
  run = await fetched("/api/run");
  by("run").textContent = ` \u00b7 ${run.name}${run.data && run.data !== run.name ? ` \u00b7 ${run.data}` : ""}`;
  const asked = { images: "a picture", texts: "a text", vectors: "numbers" }[run.kind];
  by("about").textContent = `Give ${asked}${run.test_items ? " or pick a test item" : ""}. A trained model finds what is nearest to it among ${run.searched.toLocaleString("en")} items.`;
  by("model").append(...run.models.map((one) => element("option", { textContent: one.name, value: one.name })));
  by("with").hidden = run.models.length < 2;
  by("drop").hidden = run.kind !== "images";
  by("words").hidden = run.kind === "images";
  by("typed-label").textContent = run.kind === "texts" ? "Type a text" : "Type numbers, such as 0.5, -1, 2";
  by("pick").hidden = run.test_items === 0;
  by("number").max = run.test_items - 1;
  by("main").hidden = false;
  listen();
  if (run.test_items) await items();
  chosen();
}

begin().catch((error) => {
  by("about").textContent = error.message;
  by("about").classList.add("fault");
});
