"use strict";
// The controls, and what is written beside the picture.

const $ = (id) => document.getElementById(id);
const state = { sample: 0, step: 0, colour: "weight", chosen: null, more: false, unit: null, epsilon: 0 };
let timer = null;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const numberOf = (x, attributes = {}, digits = 4) => make("span", { class: "n", "data-value": String(x), title: String(x), ...attributes }, num(x, digits));

/** "Σ_i w_ji z_i" with what stands behind _ set lower; names of several letters, such as sum_of_squares, stay as they are. */
function lowered(text) {
  const found = text.split(/(?<![\p{L}_])([\p{L}∂Σ]{1,2}′?_[a-z]{1,2})(?![a-z_])/u);
  return found.map((piece, k) => { if (k % 2 === 0) return piece; const [name, sub] = piece.split("_"); return make("span", { class: "nowrap" }, name, make("sub", {}, sub)); });
}

/** A part of a line as an element: text, number, symbol, term, result. */
function part(p) {
  if (typeof p === "string") return make("span", {}, ...lowered(p));
  if (p.plain !== undefined) return p.plain;
  if (p.sym) return make("span", { class: "sym" }, p.sym, make("sub", {}, p.sub));
  if (p.strong) return make("strong", {}, p.strong);
  if (p.function) return make("span", {}, p.function);
  if (p.more !== undefined) return make("button", { class: "link", type: "button", onclick: () => { state.more = true; write(); } }, p.more, ...(p.value === null || p.value === undefined ? [] : [" = ", numberOf(p.value)]));
  if ("result" in p) return numberOf(p.result, { class: "n result", "data-name": p.name, "data-unit": p.unit, "data-output": p.output, "data-entry": p.entry }, p.digits);
  if (p.term) return p.pick ? make("button", { class: "term", type: "button", title: `the weight ${unitLabel(p.pick.source)} → ${unitLabel(targetOf(p.pick))}`, onclick: () => choose({ edge: p.pick.e, term: p.pick }) }, ...p.term.map(part)) : make("span", { class: "nowrap" }, ...p.term.map(part));
  return numberOf(p.v);
}

const lineOf = (parts) => make("div", { class: "line" }, ...parts.flat().map(part));

// -- the step ------------------------------------------------------------------------------------------------------------------------

function stepUnit() {
  const step = STEPS[state.step];
  if (state.unit !== null && step.nodes.includes(nodeOf[state.unit])) return state.unit;
  return D.nodes[step.nodes[0]].first;
}

function writeStep() {
  const step = STEPS[state.step], u = stepUnit();
  $("where").textContent = `step ${state.step + 1} of ${STEPS.length}`;
  $("step-title").textContent = stepTitle(step);
  const choices = step.kind === "error" ? [] : step.nodes.flatMap((i) => unitsOf(D.nodes[i]));
  $("formula").replaceChildren(...unitChoice(choices, u), ...stepLines(step, u, state.sample).map(lineOf), ...vectorOf(step, choices));
  $("algorithm").replaceChildren(...LINES.map(([place, text]) => make("li", stepPlaces(step).includes(place) ? { class: "here", "aria-current": "step" } : {}, ...lowered(text))));
  $("scrub").value = state.step;
  $("scrub").setAttribute("aria-valuetext", stepTitle(step));
}

function unitChoice(choices, u) {
  if (choices.length < 2) return [];
  const select = make("select", { "aria-label": "the unit of the formula", onchange: (event) => { state.unit = Number(event.target.value); write(); } },
    ...choices.slice(0, 2000).map((each) => make("option", { value: each, ...(each === u ? { selected: "" } : {}) }, unitLabel(each))));
  return [make("label", { class: "choice" }, "unit ", select)];
}

/** The vector of a layer, or the units of a level. */
function vectorOf(step, choices) {
  if (choices.length < 2) return [];
  const columns = step.kind === "backward" || step.kind === "end" ? [["β", D.beta], ["δ", D.delta]] : step.kind === "start" ? [["x", D.a], ["z", D.z]] : [["a", D.a], ["z", D.z]];
  const most = state.more ? 500 : 24, rest = choices.length - Math.min(choices.length, most);
  return [table(["unit", ...columns.map(([name]) => name)], choices.slice(0, most).map((u) => [unitButton(u), ...columns.map(([, array]) => numberOf(of(array, state.sample, u)))])),
    ...(rest > 0 ? [lineOf([{ more: `${rest} more units` }])] : [])];
}

const unitButton = (u) => make("button", { class: "link", type: "button", onclick: () => choose({ unit: u }) }, unitLabel(u));

function table(heads, rows, caption) {
  return make("div", { class: "scroll", tabindex: 0 }, make("table", {}, ...(caption ? [make("caption", {}, caption)] : []), make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, ...(Array.isArray(h) ? [h[0], make("sub", {}, h[1])] : [h]))))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, k) => make(k ? "td" : "th", k ? {} : { scope: "row" }, cell)))))));
}

// -- what was clicked ------------------------------------------------------------------------------------------------------------------

function writeChosen() {
  const box = $("chosen");
  if (!state.chosen) return box.replaceChildren(make("p", { class: "hint" }, "Click a unit or an edge to see its numbers."));
  return box.replaceChildren(...(state.chosen.edge !== undefined ? edgePanel(state.chosen) : unitPanel(state.chosen.unit)));
}

function named(name, x, unit, what) {
  return [make("dt", {}, ...lowered(name)), make("dd", {}, numberOf(x, { "data-name": what, "data-unit": unit, class: "n result" }))];
}

function unitPanel(u) {
  const node = D.nodes[nodeOf[u]], n = state.sample, k = outputOf.get(u), input = node.role === "input";
  const kind = input ? `input${node.scale ? ", scaled" : ""}` : `${node.role}, ${kindOf(node)}, level ${node.level}`;
  const formula = input || node.activation === "identity" ? "" : `h(a) = ${node.formula}`;
  const rows = input ? [...named(node.scale ? "x (raw)" : "x", of(D.a, n, u), u, "a"), ...named(node.scale ? "z (scaled)" : "z", of(D.z, n, u), u, "z"), ...named("∂E/∂x", of(D.delta, n, u), u, "delta")]
    : [...named("a", of(D.a, n, u), u, "a"), ...named(node.scale ? "z (raw)" : "z", of(D.z, n, u), u, "z"), ...(node.scale ? named("y (scaled)", of(D.y, n, k), u, "y") : []),
      ...(node.elementwise ? named("h′(a)", of(D.slope, n, u), u, "slope") : [make("dt", {}, "h′"), make("dd", {}, "couples the softmax")]), ...named("β", of(D.beta, n, u), u, "beta"), ...named("δ", of(D.delta, n, u), u, "delta")];
  if (k !== undefined) rows.push(...targetRows(u, k, node, n));
  return [make("h3", {}, unitLabel(u)), make("p", { class: "hint" }, kind, ...(formula ? [make("br"), formula] : [])), ...otherUnits(node, u), make("dl", { id: "unit-numbers" }, ...rows), ...curvature(u, input), ...weightsPanel(u)];
}

function targetRows(u, k, node, n) {
  const t = of(D.t, n, k), missing = of(D.weight, n, k) === 0;
  return [...(missing ? [make("dt", {}, "t"), make("dd", {}, "missing, or weight 0")] : named(node.scale ? "t (scaled)" : "t", t, u, "t")),
    ...(node.scale && !missing ? named("t (raw)", node.shift[u - node.first] + node.scale[u - node.first] * t, u, "t_raw") : []), ...named("weight", of(D.weight, n, k), u, "weight")];
}

function otherUnits(node, u) {
  if (node.units === 1) return [];
  return [make("label", { class: "choice" }, "unit ", make("select", { onchange: (event) => choose({ unit: Number(event.target.value) }) }, ...unitsOf(node).map((each) => make("option", { value: each, ...(each === u ? { selected: "" } : {}) }, String(each - node.first)))))];
}

function curvature(u, input) {
  const c = D.curvature;
  if (input) return [];
  if (!c) return [make("p", { class: "hint" }, "G and B are left out (see the notes).")];
  const j = c.units.indexOf(u), M = c.units.length, n = state.sample, k = c.to.length, full = c.B.shape.length === 3;
  const own = full ? c.B[(n * M + j) * M + j] : c.B[n * M + j];
  const rows = Array.from(c.to, (to, r) => [unitButton(to), numberOf(c.G[(n * k + r) * M + j], { "data-name": "G", "data-to": to }), ...(full ? [numberOf(c.B[(n * M + j) * M + r], { "data-name": "B", "data-to": to })] : [])]);
  return [make("dl", {}, ...named("B_jj", own, u, "B_jj")), make("details", {}, make("summary", {}, full ? "G and B with every unit" : "G to the outputs"),
    make("p", { class: "hint" }, ...lowered("Added to a_j is ε_j: G_kj = ∂a_k/∂ε_j and B_jk = ∂²E/∂ε_j∂ε_k.")), table(["k", ["G", "kj"], ...(full ? [["B", "jk"]] : [])], rows))];
}

function weightsPanel(u) {
  const into = termsInto(u), out = termsOutOf(u), n = state.sample;
  const list = (terms, far, title) => {
    if (terms === null) return [make("p", { class: "hint" }, `${title}: left out of the page (see the notes)`)];
    if (!terms.length) return [];
    const rows = terms.slice(0, 60).map((t) => [make("button", { class: "link", type: "button", onclick: () => choose({ edge: t.e, term: t }) }, unitLabel(far(t))), numberOf(D.value[t.entry]), numberOf(slopeOf(t, n))]);
    return [make("details", {}, make("summary", {}, `${title} (${terms.length})`), table(["", "w", "∂E/∂w"], rows, terms.length > 60 ? "the first 60" : null))];
  };
  const node = D.nodes[nodeOf[u]], bias = node.bias >= 0 ? [make("button", { class: "link", type: "button", onclick: () => choose({ edge: -1, bias: u }) }, `bias b = ${num(D.value[node.bias + u - node.first])}`)] : [];
  const around = small || centre === nodeOf[u] ? [] : [make("button", { type: "button", onclick: () => { centre = nodeOf[u]; build(); write(); } }, "draw its neighbourhood")];
  return [...around, ...bias, ...list(into, (t) => t.source, "Weights into it"), ...list(out, targetOf, "Weights out of it")];
}

function edgePanel(chosen) {
  if (chosen.bias !== undefined) return biasPanel(chosen.bias);
  const from = D.nodes[D.src[chosen.edge]], to = D.nodes[D.dst[chosen.edge]], terms = termsOf(chosen.edge);
  if (!terms || !terms.length) return [make("h3", {}, `${from.label} → ${to.label}`), make("p", { class: "hint" }, "Its weights are left out of the page (see the notes).")];
  const term = chosen.term ?? terms[0], n = state.sample, c = passed(term, n), j = targetOf(term);
  const lines = [[sym("w", `${unitLabel(j)}, ${unitLabel(term.source)}`), " = ", { result: D.value[term.entry], name: "w", entry: term.entry }],
    ["∂E/∂w = δ", ...(c === 1 ? [] : [" c"]), " z = ", ...factor(of(D.delta, n, j)), " · ", ...(c === 1 ? [] : [...factor(c), " · "]), ...factor(of(D.z, n, term.source)), " = ", { result: slopeOf(term, n), name: "slope", entry: term.entry }]];
  return [make("h3", {}, `${unitLabel(term.source)} → ${unitLabel(j)}`), ...(terms.length > 1 ? [weightChoice(terms, term)] : []), ...lines.map(lineOf), ...check(term.entry)];
}

function biasPanel(u) {
  const node = D.nodes[nodeOf[u]], entry = node.bias + u - node.first;
  return [make("h3", {}, `bias of ${unitLabel(u)}`), lineOf([sym("b", unitLabel(u)), " = ", { result: D.value[entry], name: "w", entry }]), lineOf(["∂E/∂b = δ = ", { result: of(D.delta, state.sample, u), name: "slope", entry }]), ...check(entry)];
}

function weightChoice(terms, term) {
  const shown = terms.slice(0, 3000);
  return make("label", { class: "choice" }, "weight ", make("select", { "aria-label": "which weight of the edge", onchange: (event) => choose({ edge: term.e, term: shown[Number(event.target.value)] }) },
    ...shown.map((t, k) => make("option", { value: k, ...(t.entry === term.entry && t.r === term.r ? { selected: "" } : {}) }, `${unitLabel(t.source)} → ${unitLabel(targetOf(t))}: ${num(D.value[t.entry], 3)}`))));
}

/** Numerical differentiation: E with this weight moved by ±ε, computed by graphbp. */
function check(entry) {
  const p = D.parameter[entry], d = D.differences, n = state.sample;
  if (p < 0) return [make("p", { class: "hint" }, "Frozen (trainable=False): it is no parameter.")];
  if (!d) return [make("p", { class: "hint" }, "Numerical differentiation is left out (see the notes).")];
  const S = d.steps.length, W = d.plus.shape[1], k = Math.min(state.epsilon, S - 1), at = (array, s) => array[(n * W + p) * S + s];
  const exact = gradientOf(p, n), E = errorOf(n), central = (s) => (at(d.plus, s) - at(d.minus, s)) / (2 * d.steps[s]);
  const tied = D.ties[p] > 1 ? [make("p", { class: "hint" }, `Tied: ${D.ties[p]} weights are this one parameter, and move together.`)] : [];
  const lines = [["E(w − ε) = ", { result: at(d.minus, k), name: "minus", digits: 9 }], ["E(w) = ", { result: E, name: "E", digits: 9 }], ["E(w + ε) = ", { result: at(d.plus, k), name: "plus", digits: 9 }],
    ["(E(w + ε) − E(w − ε)) / 2ε = ", { result: central(k), name: "central", digits: 7 }], [D.ties[p] > 1 ? "∂E/∂w, all its uses, = " : "backpropagation: ", ...(exact === null ? ["some of its uses are left out of the page"] : [{ result: exact, name: "exact", digits: 7 }])]];
  const rows = Array.from(d.steps, (step, s) => [numberOf(step), numberOf(central(s)), numberOf(exact === null ? NaN : Math.abs(central(s) - exact))]);
  return [make("h4", {}, "Numerical differentiation"), ...tied, make("label", { class: "choice" }, "ε ", make("select", { id: "epsilon", onchange: (event) => { state.epsilon = Number(event.target.value); writeChosen(); } },
    ...Array.from(d.steps, (step, s) => make("option", { value: s, ...(s === k ? { selected: "" } : {}) }, num(step))))), moves([at(d.minus, k), E, at(d.plus, k)], d.steps[k], exact), ...lines.map(lineOf), table(["ε", "difference", "off by"], rows)];
}

/** E at w − ε, w and w + ε, and the tangent of backpropagation through the middle. */
function moves(E, step, slope) {
  const high = 90, width = 260, ns = "http://www.w3.org/2000/svg";
  const line = slope === null ? [] : [E[1] - slope * step, E[1] + slope * step];
  const seen = [...E, ...line].filter(Number.isFinite), lo = Math.min(...seen), hi = Math.max(...seen), y = (e) => high - 14 - ((e - lo) / (hi - lo || 1)) * (high - 28);
  const draw = (tag, attributes) => { const element = document.createElementNS(ns, tag); Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value)); return element; };
  const svg = draw("svg", { viewBox: `0 0 ${width} ${high}`, class: "moves", role: "img", "aria-label": `E moves from ${num(E[0])} to ${num(E[2])} as the weight moves by ±${num(step)}` });
  if (line.length && line.every(Number.isFinite)) svg.append(draw("line", { x1: 30, x2: width - 30, y1: y(line[0]), y2: y(line[1]), class: "tangent" }));
  E.forEach((e, k) => { if (Number.isFinite(e)) svg.append(draw("circle", { cx: 30 + (k * (width - 60)) / 2, cy: y(e), r: 4.5, class: k === 1 ? "dot middle" : "dot" })); });
  return make("figure", {}, svg, make("figcaption", { class: "hint" }, "dots: E at w − ε, w, w + ε; line: the slope that backpropagation gives"));
}

// -- the controls ----------------------------------------------------------------------------------------------------------------------

function choose(what) {
  if (what?.unit !== undefined && STEPS[state.step].nodes.includes(nodeOf[what.unit])) state.unit = what.unit;
  state.chosen = what;
  if (what?.unit !== undefined && !small) { centre = nodeOf[what.unit]; build(); }
  write();
}
const chooseEdge = (e) => choose({ edge: e });

function write() {
  writeStep();
  writeChosen();
  writeTable();
  if (cy) paint();
}

function go(step) {
  const to = Math.max(0, Math.min(STEPS.length - 1, step));
  if (to === STEPS.length - 1) pause();
  if (to === state.step) return;
  Object.assign(state, { step: to, more: false, unit: null });
  write();
  $("live").textContent = `${stepTitle(STEPS[to])}. ${$("formula").innerText.replace(/\s+/g, " ").slice(0, 300)}`;
}

function pause() {
  clearInterval(timer);
  timer = null;
  $("play").textContent = "▶ Play";
  $("play").setAttribute("aria-pressed", "false");
}

function play() {
  if (timer) return pause();
  if (state.step === STEPS.length - 1) go(0);
  $("play").textContent = "❚❚ Pause";
  $("play").setAttribute("aria-pressed", "true");
  timer = setInterval(() => go(state.step + 1), Number($("speed").value));
  return undefined;
}

function setSample(n) {
  const to = Math.max(0, Math.min(N - 1, Number.isFinite(n) ? Math.round(n) : 0));
  state.sample = to;
  $("sample").value = to;
  write();
}

function writeTable() {
  if (!$("all").open) return;
  const most = 300, units = order.flatMap((i) => unitsOf(D.nodes[i])), n = state.sample;
  $("all-units").replaceChildren(table(["unit", "a", "z", "δ"], units.slice(0, most).map((u) => [unitButton(u), numberOf(of(D.a, n, u)), numberOf(of(D.z, n, u)), numberOf(of(D.delta, n, u))]), units.length > most ? `the first ${most} of ${units.length.toLocaleString("en")} units; the search finds the others` : null));
}

function listLevel(from, to) {
  const units = order.filter((i) => D.nodes[i].level >= from && D.nodes[i].level <= to).flatMap((i) => unitsOf(D.nodes[i]));
  results(units, from === to ? `level ${from}` : `levels ${from} to ${to}`);
}

function results(units, title) {
  const most = 100;
  $("found").replaceChildren(make("p", { class: "hint" }, `${title}: ${units.length.toLocaleString("en")} unit${units.length === 1 ? "" : "s"}${units.length > most ? `, the first ${most}` : ""}`), make("div", { class: "list" }, ...units.slice(0, most).map(unitButton)));
}

function search(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return $("found").replaceChildren();
  const found = [];
  for (const i of order) if (D.nodes[i].label.toLowerCase().includes(wanted)) found.push(...unitsOf(D.nodes[i]));
  const exact = found.filter((u) => unitLabel(u).toLowerCase() === wanted);
  return results([...exact, ...found.filter((u) => !exact.includes(u))], `“${text.trim()}”`);
}

const KEYS = { ArrowRight: () => go(state.step + 1), ArrowLeft: () => go(state.step - 1), Home: () => go(0), End: () => go(STEPS.length - 1), " ": play, ArrowDown: () => setSample(state.sample + 1), ArrowUp: () => setSample(state.sample - 1), Escape: () => choose(null) };

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
  const tag = event.target.tagName, own = ["INPUT", "SELECT", "TEXTAREA"].includes(tag) || event.target.closest?.(".scroll");
  if (own || (event.key === " " && ["BUTTON", "SUMMARY"].includes(tag))) return;
  event.preventDefault();
  KEYS[event.key]();
}

function start() {
  $("sample").max = N - 1;
  $("of").textContent = `of 0 … ${N - 1}`;
  $("scrub").max = STEPS.length - 1;
  $("graph").setAttribute("aria-label", `The network as a picture: ${D.nodes.length} nodes, ${D.src.length} edges. The table “All units” below holds the same units as buttons.`);
  $("about").textContent = `${D.about.parameters.toLocaleString("en")} parameters · error ${D.about.error} · ${D.about.dtype} · computed by graphbp (${D.about.backend})`;
  $("notes").replaceChildren(...D.notes.map((note) => make("li", {}, note)));
  $("notes-box").hidden = !D.notes.length;
  $("large").hidden = small;
  const clicks = { first: () => go(0), back: () => go(state.step - 1), play, next: () => go(state.step + 1), last: () => go(STEPS.length - 1), "sample-back": () => setSample(state.sample - 1), "sample-next": () => setSample(state.sample + 1),
    fit: () => lay(), closer: () => zoom(1.3), further: () => zoom(1 / 1.3), whole: () => { centre = null; state.chosen = null; build(); write(); } };
  Object.entries(clicks).forEach(([id, act]) => $(id).addEventListener("click", act));
  $("scrub").addEventListener("input", (event) => go(Number(event.target.value)));
  $("sample").addEventListener("change", (event) => setSample(Number(event.target.value)));
  $("colour").addEventListener("change", (event) => { state.colour = event.target.value; paint(); });
  $("speed").addEventListener("change", () => { if (timer) { pause(); play(); } });
  $("search").addEventListener("input", (event) => search(event.target.value));
  $("all").addEventListener("toggle", writeTable);
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { cy.style(style()); paint(); });
  write();
  build();
  let was = wide();
  addEventListener("resize", () => { if (wide() !== was) { was = wide(); lay(); } });
  document.documentElement.dataset.ready = "true";
}

function zoom(by) {
  cy.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
}

start();
