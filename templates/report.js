"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const byName = new Map(report.kernels.map(k => [k.name, k]));
const roles = new Map(report.memory.map(m => [m.name, m.role]));
const at = id => document.getElementById(id);
const colour = k => k.bound === "compute" ? "var(--compute)" : "var(--memory)";
const seconds = k => k.measured ?? k.predicted;
const scaled = (value, units) => { for (const [unit, scale] of units) if (value >= scale) return (value / scale).toPrecision(3) + " " + unit; return value.toPrecision(3); };
const time = s => s === null ? "" : s < 1e-9 ? "0" : scaled(s, [["s", 1], ["ms", 1e-3], ["µs", 1e-6], ["ns", 1e-9]]);
const bytes = n => n < 1000 ? n + " B" : scaled(n, [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]);
const count = n => n < 1000 ? String(n) : scaled(n, [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]);
const work = k => k.flop + k.integer, moved = k => k.read + k.written;
const where = k => k.place && k.place.file ? `${k.place.file}:${k.place.line}` : "";
const nodesOf = step => step.nodes.length ? step.nodes : byName.get(step.kernel).nodes;
const SVG = ["svg", "rect", "text", "line", "circle", "path", "g"];

function make(tag, attributes, text, parent) {
  const node = SVG.includes(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined && text !== null) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}
function picture(id, width, height) {
  at(id).replaceChildren();
  return make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }, null, at(id));
}
// Marks what stands for a kernel: a click shows its code, hovering says what it is.
function pick(node, name, tip) {
  node.classList.add("pick"); node.dataset.kernel = name;
  if (tip) node.dataset.tip = tip;
  return node;
}

function drawHeader() {
  at("title").textContent = `${report.name} for ${report.target}`;
  const facts = [["kernels", report.kernels.length], ["steps", report.steps.length], ["arena", bytes(report.arena_bytes)], ["weights", bytes(report.weights_bytes)],
    ["work", count(report.kernels.reduce((sum, k) => sum + work(k) * k.calls, 0)) + " operations"], ["roofline, modelled", "at least " + time(report.predicted)],
    ...(report.measured === null ? [] : [["measured, kernels alone", time(report.measured)]]), ["tgc", report.tgc]];
  tell("facts", facts);
}
function tell(id, facts) {
  at(id).replaceChildren();
  for (const [label, value] of facts) { const part = make("span", {}, label + " ", at(id)); make("b", {}, value, part); }
}

function drawTimeline() {
  const width = Math.round(1200 * 2 ** Number(at("zoom").value)), high = 46;
  const total = report.steps.reduce((sum, s) => sum + seconds(byName.get(s.kernel)) * s.times, 0) || 1;
  const svg = picture("timeline", width, 84);
  at("timeline").style.width = `${100 * width / 1200}%`;
  let x = 0;
  report.steps.forEach((step, number) => {
    const k = byName.get(step.kernel), span = seconds(k) * step.times / total * width, gap = span > 4 ? 0.6 : 0;
    pick(make("rect", { x, y: 6, width: Math.max(span - gap, 0.1), height: high, fill: colour(k) }, null, svg), k.name,
      `step ${number}: ${k.name}${step.times > 1 ? " x " + step.times : ""}, ${time(seconds(k) * step.times)}\n${nodesOf(step).join("\n")}`);
    if (span > 60) make("text", { x: x + 5, y: 33, style: "fill:#fff;pointer-events:none" }, k.name.slice(0, (span - 8) / 6.6), svg);
    x += span;
  });
  const ticks = Math.round(4 * width / 1200);
  for (let tick = 0; tick <= ticks; tick++) make("text", { x: tick * width / ticks, y: 72, "text-anchor": tick === 0 ? "start" : tick === ticks ? "end" : "middle" }, time(total * tick / ticks), svg);
  at("timenote").textContent = report.measured === null ? "Times are the roofline's, modelled: " + report.roof.source + "." : "Times are measured, each kernel alone, its data in the cache where it fits.";
}

function drawRoofline() {
  const width = 560, height = 330, left = 54, low = 296, roof = report.roof, ridge = roof.flops / roof.bandwidth;
  const points = report.kernels.filter(k => work(k) > 0 && moved(k) > 0).map(k => ({ k, x: work(k) / moved(k), y: work(k) / (seconds(k) || 1e-12) }));
  const xs = [ridge / 30, ridge * 10, ...points.map(p => p.x)], ys = [roof.flops * 2, roof.flops / 60, ...points.map(p => p.y / 1.4)];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)].map(Math.log10);
  const px = x => left + (Math.log10(x) - x0) / (x1 - x0) * (width - left - 12), py = y => low - (Math.log10(y) - y0) / (y1 - y0) * (low - 12);
  const svg = picture("roofline", width, height), start = Math.max(10 ** x0, 10 ** y0 / roof.bandwidth);
  for (let d = Math.ceil(x0); d <= x1; d++) { make("line", { x1: px(10 ** d), x2: px(10 ** d), y1: 12, y2: low, stroke: "var(--line)" }, null, svg); make("text", { x: px(10 ** d), y: low + 14, "text-anchor": "middle" }, Number((10 ** d).toPrecision(1)), svg); }
  for (let d = Math.ceil(y0); d <= y1; d++) { make("line", { x1: left, x2: width - 12, y1: py(10 ** d), y2: py(10 ** d), stroke: "var(--line)" }, null, svg); make("text", { x: left - 5, y: py(10 ** d) + 4, "text-anchor": "end" }, count(10 ** d), svg); }
  make("path", { d: `M${px(start)} ${py(start * roof.bandwidth)} L${px(ridge)} ${py(roof.flops)} L${px(10 ** x1)} ${py(roof.flops)}`, fill: "none", stroke: "var(--ink)", "stroke-width": 2 }, null, svg);
  make("text", { x: width - 14, y: py(roof.flops) - 16, "text-anchor": "end" }, count(roof.flops) + " operations a second", svg);
  make("text", { x: px(Math.sqrt(start * ridge)) + 8, y: py(Math.sqrt(start * ridge) * roof.bandwidth) + 16 }, bytes(roof.bandwidth) + " a second", svg);
  const largest = Math.max(...points.map(p => seconds(p.k) * p.k.calls), 1e-12);
  for (const { k, x, y } of points.sort((a, b) => seconds(b.k) * b.k.calls - seconds(a.k) * a.k.calls))  // the small ones on top
    pick(make("circle", { cx: px(x), cy: py(y), r: 3 + 9 * Math.sqrt(seconds(k) * k.calls / largest), fill: colour(k), "fill-opacity": 0.6 }, null, svg), k.name,
      `${k.name}: ${x.toPrecision(3)} operations a byte, ${count(y)} a second` + (k.measured ? `, ${(100 * k.predicted / k.measured).toFixed(0)} % of the roof` : ""));
  make("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "operations for each byte of memory", svg);
  make("text", { x: 0, y: 0, transform: "translate(10,200) rotate(-90)" }, "operations a second", svg);
  at("roofnote").textContent = `${roof.source}. A dot's area is its share of the time` + (report.measured === null ? "; without --measure all dots lie on the roof." : ".");
}

function drawMemory() {
  const width = 560, height = 330, left = 54, low = 310, blocks = report.memory.filter(m => m.role === "arena" && m.first >= 0);
  const svg = picture("memory", width, height), total = report.arena_bytes || 1, steps = report.steps.length, writers = new Map();
  if (!blocks.length) { make("text", { x: 20, y: 40 }, "The arena is empty.", svg); return; }
  report.steps.forEach(s => s.writes.forEach(name => { if (!writers.has(name)) writers.set(name, s.kernel); }));
  const px = step => left + step / steps * (width - left - 8), py = offset => 8 + offset / total * (low - 8);
  blocks.forEach((m, i) => {
    const across = px(m.last + 1) - px(m.first), down = py(m.offset + m.bytes) - py(m.offset), thin = Math.min(across, down) < 3;
    const box = make("rect", { x: px(m.first), y: py(m.offset), width: Math.max(across, 0.6), height: Math.max(down, 0.6), fill: `hsl(${i * 47 % 360} 55% 64%)`, ...(thin ? {} : { stroke: "var(--card)", "stroke-width": 0.5 }) }, null, svg);
    const tip = `${m.name} ${m.dtype}[${m.shape.join(", ")}], ${bytes(m.bytes)} at ${m.offset}, steps ${m.first} to ${m.last}`;
    if (writers.has(m.name)) pick(box, writers.get(m.name), tip); else box.dataset.tip = tip;
  });
  for (let tick = 0; tick <= 4; tick++) make("text", { x: left - 5, y: py(total * tick / 4) + (tick ? 0 : 8), "text-anchor": "end" }, bytes(Math.round(total * tick / 4)), svg);
  make("text", { x: left, y: height - 4 }, "step 0", svg); make("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, "step " + (steps - 1), svg);
}

// From each step to those whose results it reads. Several may write parts of one piece, a halo and what is within, until one reads it.
function parentsOfSteps() {
  const writers = new Map(), done = new Set();
  return report.steps.map((step, number) => {
    const from = [...new Set(step.reads.flatMap(name => writers.get(name) || []))];
    step.reads.forEach(name => done.add(name));
    step.writes.forEach(name => { writers.set(name, done.delete(name) ? [number] : [...(writers.get(name) || []), number]); });
    return from;
  });
}
// A lane for each step: its own from its row to that of its last reader, who may take it over.
function lanesOf(parents) {
  const last = parents.map((_, n) => n), lanes = [], owners = [];
  parents.forEach((from, n) => from.forEach(m => { last[m] = n; }));
  parents.forEach((from, n) => {
    from.filter(m => last[m] === n).forEach(m => { owners[lanes[m]] = undefined; });
    const inherited = from.filter(m => last[m] === n).map(m => lanes[m]).sort((a, b) => a - b)[0];
    lanes[n] = inherited ?? [...owners, undefined].indexOf(undefined);
    if (last[n] > n) owners[lanes[n]] = n;
  });
  return lanes;
}
function drawGraph() {
  const parents = parentsOfSteps(), lanes = lanesOf(parents), high = 22, most = Math.max(0, ...lanes) + 1, pitch = Math.max(3, Math.min(16, 260 / most));
  const width = 16 + most * pitch, px = n => 10 + lanes[n] * pitch, py = n => n * high + high / 2;
  const box = at("graph"); box.replaceChildren(); box.className = "rows";
  const svg = make("svg", { width, height: report.steps.length * high, style: `width:${width}px` }, null, box);
  parents.forEach((from, n) => from.forEach(m => {
    const [x, y, u, v] = [px(m), py(m), px(n), py(n)], turn = v - high;
    make("path", { class: "edge", d: x === u ? `M${x} ${y} L${u} ${v}` : `M${x} ${y} L${x} ${turn} C${x} ${turn + high * 0.7} ${u} ${v - high * 0.7} ${u} ${v}` }, null, svg);
  }));
  const largest = Math.max(...report.steps.map(s => seconds(byName.get(s.kernel)) * s.times), 1e-12);
  report.steps.forEach((step, n) => {
    const k = byName.get(step.kernel), spent = seconds(k) * step.times;
    make("circle", { cx: px(n), cy: py(n), r: Math.min(4.5, pitch * 0.45 + 1), fill: colour(k), stroke: "var(--card)", "stroke-width": 1 }, null, svg);
    const row = pick(make("div", { class: "row", style: `padding-left:${width}px;grid-template-columns:3.2em minmax(150px,270px) 120px 5em 1fr` }, null, box), k.name);
    make("span", { class: "count" }, n, row);
    const name = make("span", {}, k.name + (step.times > 1 ? ` x${step.times}` : ""), row);
    for (const [names, role] of [[step.reads, "input"], [step.writes, "output"]])
      for (const given of names) if (roles.get(given) === role) make("span", { class: "tag" }, role, name);
    make("i", { style: `width:${100 * spent / largest}%;background:${colour(k)}` }, null, make("span", { class: "bar" }, null, row));
    make("span", { class: "time" }, time(spent), row);
    make("span", { class: "of" }, nodesOf(step).join(", "), row);
  });
}

// A cell is text, or [text, number to sort by], which stands on the right. A click on a heading sorts, a second one the other way.
function table(id, heads, rows) {
  const body = at(id), draw = list => { body.querySelectorAll("tr + tr").forEach(row => row.remove()); list.forEach(add); mark(); };
  const add = ([cells, name]) => {
    const row = make("tr", {}, null, body);
    cells.forEach(cell => make("td", Array.isArray(cell) ? { class: "n" } : {}, Array.isArray(cell) ? cell[0] : cell, row));
    if (name) pick(row, name); else row.dataset.words = cells.flat().join(" ").toLowerCase();
  };
  const key = (row, column) => Array.isArray(row[0][column]) ? row[0][column][1] ?? -1 : row[0][column];
  body.replaceChildren();
  const head = make("tr", {}, null, body);
  let sorted = null;
  heads.forEach((text, column) => make("th", rows.length && Array.isArray(rows[0][0][column]) ? { class: "n" } : {}, text, head).addEventListener("click", () => {
    const down = sorted !== column; sorted = down ? column : null;
    draw([...rows].sort((a, b) => { const [x, y] = [key(a, column), key(b, column)], way = (x < y ? -1 : x > y ? 1 : 0); return typeof x === "number" === down ? -way : way; }));
  }));
  rows.forEach(add);
}
function drawTables() {
  const total = report.kernels.reduce((sum, k) => sum + seconds(k) * k.calls, 0) || 1, known = report.measured !== null;
  const order = [...report.kernels].sort((a, b) => seconds(b) * b.calls - seconds(a) * a.calls);
  const short = list => list.slice(0, 4).join(", ") + (list.length > 4 ? `, and ${list.length - 4} more` : "");
  const percent = part => [(100 * part).toFixed(1) + " %", part];
  table("kernels", ["kernel", "calls", "share", "FLOP", "bytes", "predicted", ...(known ? ["measured", "of the roof"] : []), "code", "ONNX nodes"], order.map(k =>
    [[k.name, [k.calls, k.calls], percent(seconds(k) * k.calls / total), [count(k.flop), k.flop], [bytes(moved(k)), moved(k)], [time(k.predicted), k.predicted],
      ...(known ? [[time(k.measured), k.measured], percent(k.predicted / (k.measured || Infinity))] : []), where(k), short(k.nodes)], k.name]));
  const named = name => byName.has(name) && where(byName.get(name)) ? `${name} (${where(byName.get(name))})` : name;
  table("operators", ["node", "operator", "became"], report.operators.map(o => [[o.node, o.operator, o.kernels.map(named).join(", ") || "no kernel: a view, a constant, or not needed"], o.kernels[0]]));
  table("weights", ["tensor", "type", "size", "SHA-256"], report.weights.map(w => [[w.name, `${w.dtype}[${w.shape.join(", ")}]`, [bytes(w.bytes), w.bytes], w.sha256.slice(0, 16)]]));
}

let chosen = null, found = null;
const words = () => at("search").value.trim();
function show(name) {
  const k = byName.get(name);
  if (!k) return;
  chosen = name;
  at("panel").hidden = false;
  at("codetitle").textContent = `${name} ${where(k)}`;
  const steps = report.steps.map((s, n) => s.kernel === name ? n : -1).filter(n => n >= 0);
  tell("kernelfacts", [["calls", k.calls], ["steps", steps.slice(0, 8).join(", ") + (steps.length > 8 ? ", .." : "")], ["FLOP", count(k.flop)], ["read", bytes(k.read)], ["written", bytes(k.written)],
    ["predicted", time(k.predicted)], ...(k.measured === null ? [] : [["measured", time(k.measured)]]), ["bound by", k.bound === "compute" ? "arithmetic" : "memory"]]);
  at("nodes").replaceChildren();
  k.nodes.forEach(node => make("span", {}, node, at("nodes")));
  drawCode(k);
  mark();
}
// The kernel's lines behind their numbers in the file, with what is searched for marked.
function drawCode(k) {
  const code = at("code"), text = k.place ? k.place.text : "This artifact holds machine code only; inspect the model to see the kernel.";
  const parts = words() && new RegExp(`(${words().replace(/[.*+?^${}()|[\]\\]/g, "\\$&")})`, "i");
  code.replaceChildren();
  text.replace(/\n$/, "").split("\n").forEach((line, n) => {
    make("u", {}, k.place && k.place.file ? k.place.line + n : n + 1, code);
    (parts ? line.split(parts) : [line]).forEach((part, odd) => odd % 2 ? make("mark", {}, part, code) : code.append(part));
    code.append("\n");
  });
  code.querySelector("mark")?.scrollIntoView({ block: "nearest" });
}
// The chosen kernel stands out everywhere; what the search leaves out is dimmed in pictures and hidden in tables.
function mark() {
  document.querySelectorAll("[data-kernel]").forEach(node => {
    node.classList.toggle("chosen", node.dataset.kernel === chosen);
    node.classList.toggle("dim", found !== null && !found.has(node.dataset.kernel));
  });
  document.querySelectorAll("[data-words]").forEach(node => node.classList.toggle("dim", !node.dataset.words.includes(words().toLowerCase())));
}
function search() {
  const wanted = words().toLowerCase();
  const hits = report.kernels.filter(k => [k.name, where(k), ...k.nodes, k.place ? k.place.text : ""].join("\n").toLowerCase().includes(wanted));
  found = wanted ? new Set(hits.map(k => k.name)) : null;
  at("hits").textContent = wanted ? `${hits.length} of ${report.kernels.length} kernels; Enter shows the code` : "";
  if (chosen && !at("panel").hidden) drawCode(byName.get(chosen));
  mark();
  return hits;
}
// Enter goes on to the next kernel that was found.
function next() {
  const hits = search();
  if (hits.length) show(hits[(hits.findIndex(k => k.name === chosen) + 1) % hits.length].name);
  document.querySelector(".row.chosen")?.scrollIntoView({ block: "nearest" });
}
function close() { at("panel").hidden = true; chosen = null; mark(); }

at("search").addEventListener("input", search);
at("zoom").addEventListener("input", drawTimeline);
at("close").addEventListener("click", close);
document.addEventListener("click", event => { const node = event.target.closest("[data-kernel]"); if (node) show(node.dataset.kernel); });
document.addEventListener("keydown", event => {
  if (event.key === "Escape") close();
  if (event.key === "Enter" && event.target === at("search")) next();
  if (event.key === "/" && event.target !== at("search")) { event.preventDefault(); at("search").focus(); }
});
document.addEventListener("mousemove", event => {
  const node = event.target.closest?.("[data-tip]"), tip = at("tip");
  tip.hidden = !node;
  if (!node) return;
  tip.textContent = node.dataset.tip.slice(0, 600);
  tip.style.left = Math.min(event.clientX + 14, innerWidth - 430) + "px";
  tip.style.top = event.clientY + 16 + "px";
});
drawHeader(); drawTimeline(); drawRoofline(); drawMemory(); drawGraph(); drawTables(); search();
if (byName.has(decodeURIComponent(location.hash.slice(1)))) show(decodeURIComponent(location.hash.slice(1)));  // page.html#k3_Conv_7
document.body.dataset.ready = "yes";
