"use strict";
// The steps of Algorithm 8.1, and what each says: lines of text, numbers (objects {v}) and symbols (objects {sym, sub}).

const BY_NODE = 300; // up to so many nodes each is a step and is drawn; of more, a level is
const small = D.nodes.length <= BY_NODE;

const order = D.nodes.map((node) => node.number).sort((i, j) => D.nodes[i].level - D.nodes[j].level || i - j);
const inputs = order.filter((i) => D.nodes[i].role === "input");
const feeding = (i) => D.nodes[i].out.length > 0;

function inGroups(members) {
  if (small) return members.map((i) => [i]);
  const levels = new Map();
  members.forEach((i) => levels.set(D.nodes[i].level, [...(levels.get(D.nodes[i].level) ?? []), i]));
  return [...levels.values()];
}

function makeSteps() {
  const inner = order.filter((i) => D.nodes[i].role !== "input"), back = [...inner].reverse();
  const outputs = inner.filter((i) => D.nodes[i].role === "output" && !feeding(i));
  const rest = back.filter((i) => !outputs.includes(i));
  return [
    { kind: "start", nodes: inputs },
    ...inGroups(inner).map((nodes) => ({ kind: "forward", nodes })),
    { kind: "error", nodes: inner.filter((i) => D.nodes[i].role === "output") },
    ...inGroups(outputs).map((nodes) => ({ kind: "backward", nodes })),
    ...inGroups(rest).map((nodes) => ({ kind: "backward", nodes })),
    { kind: "end", nodes: inputs },
  ];
}

const STEPS = makeSteps();
const LINES = [
  ["start", "x: the sample goes in, z of the inputs"],
  ["forward", "forward, unit by unit: a_j = Σ_i w_ji z_i + b_j, z_j = h_j(a_j)"],
  ["error", "E_n of the outputs y and the targets t"],
  ["output", "at each output k: δ_k = ∂E_n/∂a_k"],
  ["backward", "backward, unit by unit: δ_j = h′_j(a_j) Σ_k w_kj δ_k"],
  ["gradient", "for each weight: ∂E_n/∂w_ji = δ_j z_i"],
];

const v = (x) => ({ v: x });
const sym = (name, sub) => ({ sym: name, sub });
const at = (name, u) => sym(name, unitLabel(u));

/** The terms of a sum, the first of them written out; `more` shows all. */
function summed(terms, write, value, joint = " + ", limit = state.more ? Infinity : 8) {
  const parts = [];
  terms.slice(0, limit).forEach((term, k) => parts.push(...(k ? [joint] : []), { term: write(term), pick: term }));
  const rest = terms.slice(limit);
  if (rest.length) {
    parts.push(joint);
    parts.push({ more: `${rest.length} more terms`, value: joint === " + " ? rest.reduce((sum, t) => sum + value(t), 0) : null });
  }
  return parts;
}

const factor = (x) => (x < 0 || Object.is(x, -0) ? ["(", v(x), ")"] : [v(x)]);
const weightOf = (term) => D.value[term.entry];
const isOne = (term) => weightOf(term) === 1 && D.parameter[term.entry] < 0;

const OPEN = { product: ["", " · ", ""], max: ["max(", ", ", ")"], min: ["min(", ", ", ")"], median: ["median(", ", ", ")"], maxabs: ["maxabs(", ", ", ")"], mean: ["(", " + ", ")"], sum: ["", " + ", ""] };

function forwardLines(u, n) {
  const node = D.nodes[nodeOf[u]], terms = termsInto(u), how = node.aggregation;
  const bias = node.bias >= 0 ? D.value[node.bias + u - node.first] : null;
  const name = how === "sum" ? ["Σ w z"] : [how, " of w z"];
  const head = [at("a", u), " = ", ...name, ...(bias === null ? [] : [" + b"])];
  const lines = [head];
  if (terms === null) lines.push([" = the weights are left out of the page (see the notes)"]);
  else {
    const [open, joint, close] = OPEN[how];
    const alone = how === "product" ? (t) => ["(", ...(isOne(t) ? [v(of(D.z, n, t.source))] : [v(weightOf(t)), " · ", ...factor(of(D.z, n, t.source))]), ")"]
      : (t) => [...factor(weightOf(t)), " · ", ...factor(of(D.z, n, t.source))];
    const body = terms.length ? [open, ...summed(terms, alone, (t) => weightOf(t) * of(D.z, n, t.source), joint), close] : ["0"];
    lines.push([" = ", ...body, ...(how === "mean" ? [` / ${terms.length}`] : []), ...(bias === null ? [] : [" + ", ...factor(bias)])]);
  }
  lines.push([" = ", { result: of(D.a, n, u), name: "a", unit: u }]);
  return [...lines, ...activationLines(u, n)];
}

function activationLines(u, n) {
  const node = D.nodes[nodeOf[u]], a = of(D.a, n, u), z = of(D.z, n, u), k = outputOf.get(u);
  const h = node.elementwise ? [{ plain: `${node.activation}(` }, v(a), ")"] : ["exp(", v(a), ") / Σ exp(a) over the softmax"];
  if (node.scale) {
    const r = u - node.first;
    return [[at("z", u), " = shift + scale · ", { plain: node.activation }, "(a) = ", v(node.shift[r]), " + ", ...factor(node.scale[r]), " · ", ...factor(of(D.y, n, k))], [" = ", { result: z, name: "z", unit: u }]];
  }
  return [[at("z", u), " = ", ...(node.elementwise ? [{ function: "h(a)" }] : [{ function: "softmax(a)" }]), " = ", ...h, " = ", { result: z, name: "z", unit: u }]];
}

function inputLines(u, n) {
  const node = D.nodes[nodeOf[u]], x = of(D.a, n, u);
  if (!node.scale) return [[at("z", u), " = x = ", { result: x, name: "z", unit: u }]];
  const r = u - node.first;
  return [[at("z", u), " = (x − shift) / scale = (", v(x), " − ", ...factor(node.shift[r]), ") / ", v(node.scale[r])], [" = ", { result: of(D.z, n, u), name: "z", unit: u }]];
}

function weightPart(n, k) {
  const s = of(D.weight, n, k);
  return s === 1 ? [] : [v(s), " · "];
}

/** The formula of one output with its numbers in the places of y and t. */
function inserted(formula, y, t, s) {
  const bare = formula.replace(/Σ /g, "").replace(/\s{2,}\(.*$/, "");
  const parts = bare.split(/(?<![\p{L}])([yt])(?![\p{L}])/u).flatMap((piece) => (piece === "y" ? factor(y) : piece === "t" ? factor(t) : [{ plain: piece }]));
  return s === 1 ? parts : ["(", ...parts, ")"];
}

function headLines(head, n) {
  const k = head.outputs[0], s = of(D.weight, n, k), node = D.nodes[nodeOf[D.output_units[k]]];
  const formula = head.formula.replaceAll("_k", "");
  const lines = [[{ strong: head.label }, ": ", { plain: `${head.error}, e = ${formula}` }]];
  if (s === 0) return [...lines, ["it has no target here, or weighs 0: it adds ", { result: 0, name: "error", output: k }]];
  const pairs = head.outputs.slice(0, state.more ? Infinity : 8).flatMap((o, place) => [place ? ";  " : "", ...(head.outputs.length > 1 ? [{ plain: unitLabel(D.output_units[o]) }, ": "] : []), "y = ", v(of(D.y, n, o)), ", t = ", v(of(D.t, n, o))]);
  lines.push(pairs, ...(head.outputs.length > 8 && !state.more ? [[{ more: `${head.outputs.length - 8} more outputs` }]] : []));
  if (node.scale) lines.push(["(y and t as the network computes with them: (raw − shift) / scale)"]);
  lines.push([...(s === 1 ? ["e = "] : ["weight · e = ", v(s), " · "]), ...(head.outputs.length > 1 ? s === 1 ? [] : ["e = "] : [...inserted(formula, of(D.y, n, k), of(D.t, n, k), s), " = "]), { result: of(D.error, n, k), name: "error", output: k }]);
  return lines;
}

function errorLines(n) {
  const shown = state.more ? D.heads : D.heads.slice(0, 8);
  const lines = shown.flatMap((head) => headLines(head, n));
  if (shown.length < D.heads.length) lines.push([{ more: `${D.heads.length - shown.length} more heads` }]);
  return [...lines, [sym("E", "n"), D.heads.length > 1 ? ", the sum of the heads, = " : " = ", { result: errorOf(n), name: "E" }]];
}

/** The error's own term of δ at output k. */
function ownLines(u, n) {
  const k = outputOf.get(u), head = D.heads.find((each) => each.outputs.includes(k)), s = of(D.weight, n, k);
  const both = feeding(nodeOf[u]), name = both ? [{ strong: "the error’s own term" }, " = "] : [at("δ", u), " = "];
  const result = { result: of(D.own, n, k), name: both ? "own" : "delta", unit: u };
  if (s === 0) return [[...name, "no target here, or weight 0: ", result]];
  const y = of(D.y, n, k), t = of(D.t, n, k), weight = weightPart(n, k);
  if (head.kind === "canonical") return [[...name, s === 1 ? "y − t" : "weight · (y − t)", " = ", ...weight, ...(s === 1 ? [] : ["("]), v(y), " − ", ...factor(t), ...(s === 1 ? [] : [")"])], [" = ", result]];
  if (head.kind === "softmax") return [[...name, s === 1 ? "" : "weight · ", "Σ_c ∂e/∂y_c ∂y_c/∂a, the softmax couples its outputs"], [" = ", result]];
  return [[...name, s === 1 ? "" : "weight · ", "∂e/∂y · h′(a) = ", ...weight, ...factor(of(D.error_slope, n, k)), " · ", ...factor(of(D.slope, n, u))], [" = ", result]];
}

function betaLines(u, n) {
  const terms = termsOutOf(u), node = D.nodes[nodeOf[u]];
  const many = node.out.some((e) => D.passed[D.dst[e]]);
  const lines = [[at("β", u), many ? " = Σ_k c_k w_k δ_k, c = ∂agg/∂(w z)" : " = Σ_k w_k δ_k"]];
  if (terms === null) lines.push([" = the weights are left out of the page (see the notes)"]);
  else {
    const write = (t) => [...(D.passed[D.dst[t.e]] ? [...factor(passed(t, n)), " · "] : []), ...factor(weightOf(t)), " · ", ...factor(of(D.delta, n, targetOf(t)))];
    lines.push([" = ", ...(terms.length ? summed(terms, write, (t) => backOf(t, n)) : ["0, it leads nowhere"])]);
  }
  lines.push([" = ", { result: of(D.beta, n, u), name: "beta", unit: u }]);
  return lines;
}

function backwardLines(u, n) {
  const i = nodeOf[u], output = outputOf.has(u);
  const lines = [];
  if (output) lines.push(...ownLines(u, n));
  if (feeding(i) || !output) {
    lines.push(...betaLines(u, n));
    lines.push([at("δ", u), " = h′(a) β", output ? " + the error’s own term" : "", " = ", ...factor(of(D.slope, n, u)), " · ", ...factor(of(D.beta, n, u)),
      ...(output ? [" + ", ...factor(of(D.own, n, outputOf.get(u)))] : [])], [" = ", { result: of(D.delta, n, u), name: "delta", unit: u }]);
  }
  return [...lines, ...gradientLines(u, n)];
}

function gradientLines(u, n) {
  const terms = termsInto(u), node = D.nodes[nodeOf[u]];
  if (terms === null) return [];
  const sum = !D.passed[nodeOf[u]];
  const lines = [[{ strong: "Gradient" }, sum ? ": ∂E/∂w = δ z" : ": ∂E/∂w = δ c z, c = ∂agg/∂(w z)"]];
  const shown = state.more ? terms : terms.slice(0, 6);
  shown.forEach((t) => {
    const value = slopeOf(t, n), frozen = D.parameter[t.entry] < 0;
    lines.push([{ pick: t, term: [sym("w", `${unitLabel(u)}, ${unitLabel(t.source)}`)] }, ": ", ...factor(of(D.delta, n, u)), " · ", ...(sum ? [] : [...factor(passed(t, n)), " · "]), ...factor(of(D.z, n, t.source)), " = ",
      { result: value, name: "gradient", entry: t.entry, unit: u, source: t.source }, frozen ? " (frozen)" : ""]);
  });
  if (terms.length > shown.length) lines.push([{ more: `${terms.length - shown.length} more weights` }]);
  if (node.bias >= 0) lines.push([sym("b", unitLabel(u)), ": ", { result: of(D.delta, n, u), name: "gradient", entry: node.bias + u - node.first, unit: u }]);
  return lines;
}

function endLines(u, n) {
  const node = D.nodes[nodeOf[u]], r = u - node.first, x = { result: of(D.delta, n, u), name: "delta", unit: u };
  const lines = betaLines(u, n);
  return [...lines, node.scale ? ["∂E/∂x = β / scale = ", v(of(D.beta, n, u)), " / ", v(node.scale[r]), " = ", x] : ["∂E/∂x = β = ", x]];
}

const TITLES = { start: "The sample", forward: "Forward", error: "The error", backward: "Backward", end: "By the inputs" };
function stepTitle(step) {
  const first = D.nodes[step.nodes[0]];
  if (step.kind === "forward" || step.kind === "backward") {
    const what = step.nodes.length > 1 ? `level ${first.level}, ${step.nodes.length} nodes` : first.label + (first.units > 1 ? ` (${first.units} units)` : "");
    return `${TITLES[step.kind]}: ${what}`;
  }
  return TITLES[step.kind];
}

/** Which lines of the algorithm a step is at. */
function stepPlaces(step) {
  if (step.kind !== "backward") return [step.kind];
  const output = step.nodes.some((i) => D.nodes[i].role === "output"), inside = step.nodes.some((i) => D.nodes[i].role !== "output" || feeding(i));
  return [...(output ? ["output"] : []), ...(inside ? ["backward"] : []), "gradient"];
}

function stepLines(step, u, n) {
  return { start: () => inputLines(u, n), forward: () => forwardLines(u, n), error: () => errorLines(n), backward: () => backwardLines(u, n), end: () => endLines(u, n) }[step.kind]();
}
