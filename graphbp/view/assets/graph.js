"use strict";
// The picture: cytoscape.js draws, dagre lays out; levels are ranks because every edge asks for as many ranks as it spans levels.

const MANY_RANKS = 700; // rank by rank, dagre gives long edges a place: beyond so many, only edges to the next level are laid out
const NEIGHBOURS = 40;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let cy = null, centre = null; // centre: the node whose neighbourhood is drawn, in a large network

function shorten(text, most) { return text.length <= most ? text : `${text.slice(0, most - 1)}…`; }

/** What is drawn: {nodes, edges} with ids; in a large network its levels, or the neighbourhood of `centre`. */
function elements() {
  if (small) return drawn(order, D.src.keys());
  return centre === null ? levels() : neighbourhood(D.nodes[centre]);
}

function drawn(members, edges) {
  const nodes = members.map((i) => ({ data: { id: `n${i}`, node: i, level: D.nodes[i].level } }));
  return [...nodes, ...[...edges].map((e) => ({ data: { id: `e${e}`, edge: e, source: `n${D.src[e]}`, target: `n${D.dst[e]}`, span: D.nodes[D.dst[e]].level - D.nodes[D.src[e]].level } }))];
}

function neighbourhood(node) {
  const largest = (edges) => edges.map((e) => [e, Math.abs(edgeValue(e, state.sample, "weight")?.value ?? 0)]).sort((a, b) => b[1] - a[1]).slice(0, NEIGHBOURS).map(([e]) => e);
  const edges = [...largest(node.in), ...largest(node.out)];
  return drawn([...new Set([node.number, ...edges.flatMap((e) => [D.src[e], D.dst[e]])])], edges);
}

function levels() {
  const units = new Map(), between = new Map();
  D.nodes.forEach((node) => units.set(node.level, (units.get(node.level) ?? 0) + node.units));
  const last = Math.max(...units.keys()), most = 10, share = (level) => (last < most ? level : Math.floor((level * most) / (last + 1)));
  const groups = new Map();
  units.forEach((count, level) => { const g = share(level), old = groups.get(g) ?? { count: 0, from: level, to: level }; groups.set(g, { count: old.count + count, from: Math.min(old.from, level), to: Math.max(old.to, level) }); });
  D.src.forEach((i, e) => { const a = share(D.nodes[i].level), b = share(D.nodes[D.dst[e]].level); if (a !== b) between.set(`${a},${b}`, (between.get(`${a},${b}`) ?? 0) + 1); });
  const nodes = [...groups].map(([g, { count, from, to }]) => ({ data: { id: `l${g}`, group: g, from, to, level: g, text: `level${from === to ? "" : "s"} ${from}${from === to ? "" : `–${to}`}\n${count.toLocaleString("en")} units` } }));
  return [...nodes, ...[...between].map(([key, count]) => { const [a, b] = key.split(","); return { data: { id: `b${key}`, count, source: `l${a}`, target: `l${b}`, span: b - a } }; })];
}

function nodeText(i) {
  const node = D.nodes[i], n = state.sample, shown = cy ? cy.nodes().length : D.nodes.length, phase = phaseOf(i);
  const name = shorten(node.label, shown > 60 ? 9 : 16);
  if (shown > 120) return name;
  const [mark, array] = phase === "backward" ? ["δ", D.delta] : ["z", D.z];
  if (phase === "none") return `${name}\n${node.units > 1 ? `${node.units} units` : node.role === "input" ? "input" : kindOf(node)}`;
  const values = unitsOf(node).slice(0, 3).map((u) => num(of(array, n, u), node.units === 1 ? 3 : 2));
  return `${name}\n${mark} ${node.units === 1 ? values[0] : `${node.units}: ${values.join(" ")}${node.units > 3 ? " …" : ""}`}`;
}

const kindOf = (node) => (node.aggregation === "sum" ? node.activation : node.activation === "identity" ? node.aggregation : `${node.activation} of ${node.aggregation}`);

/** What the steps up to now have found of a node: "none", "forward" or "backward". */
function phaseOf(i) {
  const [forward, backward] = (state.reached ??= reached()).get(i) ?? [0, Infinity];
  return state.step >= backward ? "backward" : state.step >= forward ? "forward" : "none";
}

function reached() {
  const found = new Map();
  STEPS.forEach((step, k) => step.nodes.forEach((i) => {
    if (step.kind === "start" || step.kind === "forward") found.set(i, [k, Infinity]);
    else if (step.kind !== "error") found.set(i, [found.get(i)[0], k]);
  }));
  return found;
}

function style() {
  const many = cy ? cy.nodes().length : D.nodes.length, big = many <= 60;
  const base = { "font-family": "system-ui, sans-serif", color: css("--ink") };
  return [
    { selector: "node", style: { ...base, label: "data(text)", shape: "round-rectangle", width: "data(width)", height: big ? 40 : many <= 120 ? 34 : 20, "text-wrap": "wrap", "text-valign": "center", "text-halign": "center",
      "font-size": big ? 12 : 10, "background-color": css("--paper"), "border-width": 1.5, "border-color": css("--line"), "line-height": 1.2 } },
    { selector: "node.input", style: { shape: "cut-rectangle" } },
    { selector: "node.output", style: { "border-style": "double", "border-width": 4 } },
    { selector: "node.forward", style: { "background-color": css("--forward"), "border-color": css("--forward-line") } },
    { selector: "node.backward", style: { "background-color": css("--backward"), "border-color": css("--backward-line") } },
    { selector: "node.now", style: { "border-width": 4, "border-color": css("--now"), "border-style": "solid" } },
    { selector: "node.chosen", style: { "outline-width": 3, "outline-color": css("--now"), "outline-offset": 3 } },
    { selector: "edge", style: { width: "data(width)", "line-color": "data(colour)", "target-arrow-color": "data(colour)", "target-arrow-shape": many <= 120 ? "triangle" : "none", "arrow-scale": 0.8, "curve-style": "bezier", opacity: many <= 60 ? 0.9 : 0.6 } },
    { selector: "edge.bent", style: { "curve-style": "unbundled-bezier", "control-point-weights": (e) => e.scratch("controlPointWeights"), "control-point-distances": (e) => e.scratch("controlPointDistances"), "edge-distances": "intersection" } },
    { selector: "edge.now", style: { opacity: 1, "z-index": 5, "underlay-color": css("--now"), "underlay-opacity": 0.25, "underlay-padding": 4 } },
    { selector: "edge.chosen", style: { opacity: 1, "z-index": 6, "underlay-color": css("--now"), "underlay-opacity": 0.55, "underlay-padding": 5 } },
  ];
}

function build() {
  cy?.destroy();
  cy = cytoscape({ container: document.getElementById("graph"), elements: elements(), minZoom: 0.03, maxZoom: 4, wheelSensitivity: 0.25, selectionType: "single", autounselectify: true, boxSelectionEnabled: false });
  cy.nodes().forEach((node) => { const i = node.data("node"); if (i !== undefined) node.addClass(D.nodes[i].role); });
  cy.nodes().forEach((node) => node.data("width", widthOf(node.data("node"), cy.nodes().length)));
  cy.style(style());
  paint();
  lay();
  cy.on("tap", "node", (event) => chooseNode(event.target));
  cy.on("tap", "edge", (event) => { const e = event.target.data("edge"); if (e !== undefined) chooseEdge(e); });
  cy.on("tap", (event) => { if (event.target === cy) choose(null); });
}

function chooseNode(element) {
  const i = element.data("node");
  if (i === undefined) listLevel(element.data("from"), element.data("to"));
  else choose({ unit: D.nodes[i].first });
}

const wide = () => document.getElementById("graph").clientWidth > 560;

/** Laid out from left to right or from top to bottom, whichever is larger on this screen. */
function lay() {
  cy.resize();
  const usual = wide() ? "LR" : "TB", other = wide() ? "TB" : "LR";
  run(usual);
  const zoom = cy.zoom();
  if (zoom < 0.85 && cy.nodes().length <= 60) {
    run(other);
    if (cy.zoom() < 1.25 * zoom) run(usual);
  }
}

function run(direction) {
  const edges = cy.edges(), ranks = edges.reduce((sum, e) => sum + e.data("span"), 0);
  const taken = ranks > MANY_RANKS ? edges.filter((e) => e.data("span") === 1) : edges;
  const many = cy.nodes().length;
  cy.nodes().union(taken).layout({ name: "dagre", rankDir: direction, nodeSep: many <= 60 ? 22 : 10, rankSep: many <= 60 ? 60 : 55, edgeSep: 8, minLen: (e) => (small ? Math.max(1, e.data("span")) : 1), fit: true, padding: 18, useDagreEdgeControlPoints: true, sort: (a, b) => (a.data("node") ?? 0) - (b.data("node") ?? 0) }).run();
  edges.removeClass("bent");
  taken.forEach((e) => { if (e.data("span") > 1 && e.scratch("controlPointWeights")?.length) e.addClass("bent"); });
  cy.fit(undefined, 18);
  if (cy.zoom() > 1.6) { cy.zoom(1.6); cy.center(); }
}

/** Texts, colours and widths of this step and sample. */
function paint() {
  const what = state.colour, n = state.sample, now = new Set(STEPS[state.step].nodes.map((i) => `n${i}`));
  const values = new Map();
  cy.edges().forEach((edge) => { const e = edge.data("edge"); values.set(edge, e === undefined ? { value: edge.data("count"), several: true } : known(e, what) ? edgeValue(e, n, what) : null); });
  const largest = Math.max(...[...values.values()].map((x) => (x && Number.isFinite(x.value) ? Math.abs(x.value) : 0)), 1e-300);
  cy.batch(() => {
    cy.nodes().forEach((node) => paintNode(node, now));
    cy.edges().forEach((edge) => {
      const x = values.get(edge), share = x ? Math.min(1, Math.abs(x.value) / largest) : 0;
      edge.data({ width: x ? 0.8 + 4.2 * share : 1, colour: !x ? css("--line") : x.several ? css("--several") : x.value < 0 ? css("--negative") : css("--positive") });
      edge.toggleClass("chosen", state.chosen?.edge !== undefined && state.chosen.edge === edge.data("edge"));
      edge.toggleClass("now", nowEdge(edge));
    });
  });
  legend(what, largest);
}

/** Wide enough for whatever the node will say, so that nothing moves when it does. */
function widthOf(i, many) {
  if (i === undefined) return 118;
  const node = D.nodes[i], size = many <= 60 ? 7 : 6, name = shorten(node.label, many > 60 ? 9 : 16).length;
  if (many > 120) return size * name + 10;
  const said = node.units > 1 ? Math.min(node.units, 3) * 7 + 7 : 11;
  return size * Math.max(name, said, kindOf(node).length) + 12;
}

const known = (e, what) => what === "weight" || phaseOf(D.dst[e]) === "backward";

function nowEdge(edge) {
  const e = edge.data("edge"), step = STEPS[state.step];
  if (e === undefined || !small) return false;
  return step.kind === "forward" ? step.nodes.includes(D.dst[e]) : step.kind === "backward" || step.kind === "end" ? step.nodes.includes(D.src[e]) : false;
}

function paintNode(node, now) {
  const i = node.data("node");
  if (i === undefined) return node.toggleClass("now", STEPS[state.step].nodes.some((k) => D.nodes[k].level >= node.data("from") && D.nodes[k].level <= node.data("to")));
  node.data("text", nodeText(i));
  node.toggleClass("forward", phaseOf(i) === "forward").toggleClass("backward", phaseOf(i) === "backward").toggleClass("now", now.has(node.id()));
  return node.toggleClass("chosen", state.chosen?.unit !== undefined && nodeOf[state.chosen.unit] === i);
}

function legend(what, largest) {
  const levels = !small && centre === null, name = what === "weight" ? "w" : "∂E/∂w";
  const layers = cy.edges().some((edge) => edge.data("edge") !== undefined && D.shapes[edge.data("edge")]);
  const rows = levels ? [["--several", "edges between levels"]]
    : [["--negative", `${name} < 0`], ["--positive", `${name} > 0`], ...(layers ? [["--several", `root mean square of a layer’s ${name}`]] : []), ...(what === "weight" ? [] : [["--line", "not reached yet"]])];
  const items = rows.map(([colour, text]) => { const mark = document.createElement("i"), item = document.createElement("span"); mark.style.background = css(colour); item.append(mark, ` ${text}`); return item; });
  const widest = document.createElement("span");
  widest.textContent = largest > 1e-300 ? `widest: ${num(largest, 3)}` : "";
  document.getElementById("legend").replaceChildren(...items, widest);
}
