"use strict";
// What the page knows (`D`), and the products and sums of it that are shown.  No activation and no error is computed here.

function decoded(value) {
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  const text = value.f64 ?? value.i32;
  if (text === undefined) return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, decoded(each)]));
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const array = value.f64 === undefined ? new Int32Array(bytes) : new Float64Array(bytes);
  array.shape = value.shape;
  return array;
}

const D = decoded(JSON.parse(document.getElementById("data").textContent));
const N = D.n_samples, K = D.output_units.length, U = D.a.shape[1];

const nodeOf = new Int32Array(U), outputOf = new Map();
D.nodes.forEach((node, i) => { node.number = i; node.in = []; node.out = []; nodeOf.fill(i, node.first, node.first + node.units); });
D.src.forEach((i, e) => { D.nodes[i].out.push(e); D.nodes[D.dst[e]].in.push(e); });
D.nodes.forEach((node) => node.in.forEach((e, place) => { (node.placeOf ??= new Map()).set(e, place); }));
D.output_units.forEach((u, k) => outputOf.set(u, k));

/** The number of unit u (or output k) in an array (N, ...) for sample n. */
const of = (array, n, u) => array[n * array.shape[1] + u];
const unitLabel = (u) => { const node = D.nodes[nodeOf[u]]; return node.units === 1 ? node.label : `${node.label}[${u - node.first}]`; };
const unitsOf = (node) => Array.from({ length: node.units }, (_, k) => node.first + k);

/** A number for people: four digits, a true minus. */
function num(x, digits = 4) {
  if (x === null || x === undefined) return "–";
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? x.toExponential(digits - 2) : String(Number(x.toPrecision(digits)));
  return text.replace(/-/g, "−");
}

/** The weights of edge e that lead into unit r of its node: [{entry, source unit, r}], or null where they are left out of the page. */
function weightsInto(e, r) {
  const start = D.start[e], from = D.nodes[D.src[e]].first, shape = D.shapes[e];
  if (shape?.each) return [{ e, entry: start, source: from + r, r }];
  if (start < 0) return null;
  if (!shape) return [{ e, entry: start, source: from, r }];
  if (shape.dense) return Array.from({ length: shape.dense[1] }, (_, c) => ({ e, entry: start + r * shape.dense[1] + c, source: from + c, r }));
  return (shape.byRow ??= grouped(shape.rows))[r]?.map((q) => ({ e, entry: start + q, source: from + shape.cols[q], r })) ?? [];
}

/** The weights of edge e that lead out of unit c of its source. */
function weightsOutOf(e, c) {
  const start = D.start[e], from = D.nodes[D.src[e]].first, shape = D.shapes[e];
  const source = from + c;
  if (shape?.each) return [{ e, entry: start, source, r: c }];
  if (start < 0) return null;
  if (!shape) return [{ e, entry: start, source, r: 0 }];
  if (shape.dense) return Array.from({ length: shape.dense[0] }, (_, r) => ({ e, entry: start + r * shape.dense[1] + c, source, r }));
  return (shape.byCol ??= grouped(shape.cols))[c]?.map((q) => ({ e, entry: start + q, source, r: shape.rows[q] })) ?? [];
}

function grouped(keys) {
  const found = {};
  keys.forEach((key, q) => (found[key] ??= []).push(q));
  return found;
}

const all = (parts) => (parts.some((part) => part === null) ? null : parts.flat());
/** Every weight into unit u, or out of it; null where some are left out of the page. */
const termsInto = (u) => { const node = D.nodes[nodeOf[u]]; return all(node.in.map((e) => weightsInto(e, u - node.first))); };
const termsOutOf = (u) => { const node = D.nodes[nodeOf[u]]; return all(node.out.map((e) => weightsOutOf(e, u - node.first))); };
const targetOf = (term) => D.nodes[D.dst[term.e]].first + term.r;

/** c = ∂agg/∂s of the term, 1 where the node is a sum. */
function passed(term, n) {
  const j = D.dst[term.e], array = D.passed[j];
  if (!array) return 1;
  const [, edges, units] = array.shape;
  return array[(n * edges + D.nodes[j].placeOf.get(term.e)) * units + term.r];
}

/** What the term adds to β of its source: c w δ. */
const backOf = (term, n) => { const d = of(D.delta, n, targetOf(term)); return d === 0 ? 0 : passed(term, n) * D.value[term.entry] * d; };
/** ∂E_n by this one weight: δ_j c z_i. */
const slopeOf = (term, n) => { const d = of(D.delta, n, targetOf(term)); return d === 0 ? 0 : d * passed(term, n) * of(D.z, n, term.source); };

/** Every weight of an edge, one for each place where it counts. */
const termsOf = (e) => all(Array.from({ length: D.nodes[D.dst[e]].units }, (_, r) => weightsInto(e, r)));

/** What colours an edge: its weight, or ∂E_n/∂w; of several the root of the mean square, without a sign. */
function edgeValue(e, n, what) {
  const terms = (D.edgeTerms ??= new Map()).get(e) ?? termsOf(e);
  D.edgeTerms.set(e, terms);
  if (!terms || !terms.length) return null;
  const value = what === "weight" ? (t) => D.value[t.entry] : (t) => slopeOf(t, n);
  if (terms.length === 1) return { value: value(terms[0]), several: false };
  return { value: Math.sqrt(terms.reduce((sum, t) => sum + value(t) ** 2, 0) / terms.length), several: true };
}

/** E_n with all its heads. */
const errorOf = (n) => Array.from({ length: K }, (_, k) => of(D.error, n, k)).reduce((a, b) => a + b, 0);

/** ∂E_n/∂θ_p, all its uses summed; null where some are left out of the page. */
function gradientOf(p, n) {
  D.usesOf ??= uses();
  const found = D.usesOf.get(p);
  const here = found.reduce((sum, use) => sum + (use.bias !== undefined ? of(D.delta, n, use.bias) : slopeOf(use, n)), 0);
  return found.entries.size === (D.ties[p] ?? 1) ? here : null;
}

/** parameter → where it stands. */
function uses() {
  const found = new Map();
  const add = (entry, use) => {
    const p = D.parameter[entry];
    if (p < 0) return;
    if (!found.has(p)) found.set(p, Object.assign([], { entries: new Set() }));
    found.get(p).push(use);
    found.get(p).entries.add(entry);
  };
  D.src.forEach((_, e) => D.start[e] >= 0 && termsOf(e).forEach((term) => add(term.entry, term)));
  D.nodes.forEach((node) => node.bias >= 0 && unitsOf(node).forEach((u, k) => add(node.bias + k, { bias: u })));
  return found;
}
