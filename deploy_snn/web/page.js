/** The page of `deploy-snn web`: it runs a network in the browser and shows what the network does. */

import { DeploySnnError, isLearnt, load, vote } from "./deploy-snn.js";

const VISIBLE = 400; // steps in the pictures
const MOST_ROWS = 220; // of the raster, times the pixels of the screen: more neurons share rows
const BUDGET_MS = 12; // of a frame, for steps
const TEXTS_MS = 100;
const SEED = 1;
const BRUSH = 0.6; // radius of the pen, in cells
const FINE = 4; // pixels of a drawing in a cell, along each axis

const find = (id) => document.getElementById(id);
const digits = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en");

let model, site, step, running, random, sources, history, counts, shown, learns, samples, inSample, reported;

/** Uniform numbers on [0, 1), the same after each reset (mulberry32). */
function uniform(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) & 0xffffff) / 2 ** 24; // 24 bits: a float32 below 1
  };
}

/** A grid of input neurons, which one paints: the brightness of each, from 0 to 1. */
class Painted {
  constructor(spec, description) {
    const { name, size, height, width, image, level } = description;
    Object.assign(this, { name, size, height, width, image, kind: description.kind });
    this.fine = image ? FINE : 1;
    this.cells = new Float32Array(size);
    this.pixels = new Uint8Array(height * width * this.fine ** 2);
    this.cursor = [0, 0];
    this.drive = new Float32Array(size);
    const element = document.createElement("div");
    const id = `input-${find("inputs").children.length}`;
    const unit = this.kind === "spikes" ? "chance of a spike in a step, at full brightness" : `drive at full brightness${spec.unit ? `, in ${spec.unit}` : ""}`;
    element.innerHTML = `<h3></h3><canvas class="grid" tabindex="0" role="application"></canvas><p class="note"></p>
      <div class="row"><button type="button" class="clear">Clear</button><button type="button" class="fill">Fill</button></div>
      <label for="${id}"></label><input type="range" id="${id}" min="0" max="100">`;
    const part = (selector) => element.querySelector(selector);
    part("h3").textContent = image ? `Draw here (${name})` : `Neurons of ${name}`;
    part("p").textContent = "Draw with the mouse or a finger. With the keyboard: arrows move, space paints.";
    this.canvas = part("canvas");
    this.canvas.setAttribute("aria-label", `${image ? "Drawing" : "Neurons"} of ${name}, ${height} rows and ${width} columns. Arrows move, space paints.`);
    const slider = part("input");
    slider.value = this.kind === "spikes" ? 100 * level : 50;
    slider.oninput = () => {
      this.level = this.kind === "spikes" ? slider.value / 100 : (slider.value / 50) * level;
      part("label").textContent = `${digits.format(this.level)} ${unit}`;
    };
    slider.oninput();
    part(".clear").onclick = () => this.fill(0);
    part(".fill").onclick = () => this.fill(1);
    this.canvas.onpointerdown = (event) => {
      event.preventDefault();
      this.canvas.focus();
      this.canvas.setPointerCapture(event.pointerId);
      this.last = null;
      this.value = image || !this.cells[this.cellAt(event)] ? 1 : 0;
      this.stroke(event);
    };
    this.canvas.onpointermove = (event) => this.canvas.hasPointerCapture(event.pointerId) && this.stroke(event);
    this.canvas.onkeydown = (event) => this.key(event);
    this.canvas.onfocus = this.canvas.onblur = () => this.paint();
    find("inputs").append(element);
    this.paint();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const within = (offset, length, cells) => Math.min(Math.max((offset / length) * cells, 0), cells - 1e-3);
    return [within(event.clientY - box.top, box.height, this.height), within(event.clientX - box.left, box.width, this.width)];
  }

  cellAt(event) {
    const [row, column] = this.place(event).map(Math.floor);
    return row * this.width + column;
  }

  stroke(event) {
    const to = this.place(event);
    const from = this.last ?? to;
    this.last = to;
    const parts = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) * this.fine) || 1;
    for (let part = 0; part <= parts; part++) {
      const [row, column] = [0, 1].map((axis) => from[axis] + ((to[axis] - from[axis]) * part) / parts);
      if (this.image) this.dot(row, column);
      else this.pixels[Math.floor(row) * this.width + Math.floor(column)] = this.value;
    }
    this.changed();
  }

  dot(row, column) {
    const radius = BRUSH * this.fine;
    const [y, x] = [row * this.fine, column * this.fine];
    for (let i = 0; i < this.height * this.fine; i++)
      for (let j = 0; j < this.width * this.fine; j++)
        if (Math.hypot(i + 0.5 - y, j + 0.5 - x) <= radius) this.pixels[i * this.width * this.fine + j] = 1;
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in moves) {
      this.cursor = this.cursor.map((at, axis) => Math.min(Math.max(at + moves[event.key][axis], 0), [this.height, this.width][axis] - 1));
    } else if (event.key === " ") {
      const [row, column] = this.cursor;
      const on = !this.pixels[row * this.fine * this.width * this.fine + column * this.fine];
      for (let i = 0; i < this.fine; i++)
        for (let j = 0; j < this.fine; j++) this.pixels[(row * this.fine + i) * this.width * this.fine + column * this.fine + j] = on;
      this.changed();
      find("spoken").textContent = `row ${row + 1}, column ${column + 1} ${on ? "on" : "off"}`;
    } else {
      return;
    }
    event.preventDefault();
    this.paint();
  }

  fill(value) {
    this.pixels.fill(value);
    this.changed();
  }

  changed() {
    this.cells = this.image && site.readout ? centred(this) : averaged(this.pixels, this);
    counts?.fill(0);
    shown = 0;
    this.paint();
  }

  paint() {
    const fine = this.fine * this.width;
    this.canvas.width = fine;
    this.canvas.height = this.height * this.fine;
    this.canvas.style.aspectRatio = `${this.width} / ${this.height}`;
    const context = this.canvas.getContext("2d");
    context.fillStyle = colour("--even");
    this.pixels.forEach((on, i) => on && (i % fine) + Math.floor(i / fine) * fine < this.size * this.fine ** 2 && context.fillRect(i % fine, Math.floor(i / fine), 1, 1));
    if (document.activeElement === this.canvas) {
      context.fillStyle = colour("--odd");
      context.globalAlpha = 0.5;
      context.fillRect(this.cursor[1] * this.fine, this.cursor[0] * this.fine, this.fine, this.fine);
    }
  }

  next() {
    for (let i = 0; i < this.size; i++)
      this.drive[i] = this.kind === "spikes" ? +(random() < this.level * this.cells[i]) : this.level * this.cells[i];
    return this.drive;
  }
}

/** The share of a cell's pixels that are on. */
function averaged(pixels, { height, width, fine, size }) {
  const cells = new Float32Array(size);
  for (let i = 0; i < height * fine; i++)
    for (let j = 0; j < width * fine; j++) {
      const cell = Math.floor(i / fine) * width + Math.floor(j / fine);
      if (cell < size) cells[cell] += pixels[i * width * fine + j] / fine ** 2;
    }
  return cells;
}

/** The cells of a drawing that is moved to the middle and made as tall as the picture, as the training images are. */
function centred(painted) {
  const { pixels, height, width, fine } = painted;
  const [rows, columns] = [height * fine, width * fine];
  let [top, left, bottom, right] = [rows, columns, -1, -1];
  pixels.forEach((on, i) => {
    if (!on) return;
    const [y, x] = [Math.floor(i / columns), i % columns];
    [top, left, bottom, right] = [Math.min(top, y), Math.min(left, x), Math.max(bottom, y), Math.max(right, x)];
  });
  if (bottom < 0) return new Float32Array(painted.size);
  const scale = Math.max((bottom - top + 1) / rows, (right - left + 1) / columns);
  const [middleY, middleX] = [(top + bottom + 1) / 2, (left + right + 1) / 2];
  const moved = pixels.map((_, i) => {
    const y = Math.floor((Math.floor(i / columns) + 0.5 - rows / 2) * scale + middleY);
    const x = Math.floor(((i % columns) + 0.5 - columns / 2) * scale + middleX);
    return y >= 0 && y < rows && x >= 0 && x < columns ? pixels[y * columns + x] : 0;
  });
  return averaged(moved, painted);
}

/** An input that is drawn at random, or is one number. */
class Filled {
  constructor(size, next) {
    this.data = new Float32Array(size);
    this.draw = next;
  }

  next() {
    for (let i = 0; i < this.data.length; i++) this.data[i] = this.draw();
    return this.data;
  }
}

function reward(spec) {
  const label = document.createElement("label");
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: -1, max: 1, step: 0.1, value: 0 });
  label.append(`Reward (${spec.name})`, slider);
  find("inputs").append(label);
  return new Filled(1, () => Number(slider.value));
}

function sourceOf(spec) {
  const description = site.inputs.find(({ name }) => name === spec.name);
  if (description.kind === "noise") return new Filled(description.size, () => random());
  if (description.kind === "reward") return reward(spec);
  return new Painted(spec, description);
}

/** The spikes of the last steps, as a picture with a column for each step. */
class Raster {
  constructor() {
    let begin = 0;
    const driven = model.inputs.filter((_, i) => sources[i].kind === "spikes");
    const specs = [...driven, ...model.outputs.filter(({ dtype }) => dtype === "bool")];
    const sizes = specs.map(({ axes }) => axes.reduce((n, { size }) => n * (size ?? 1), 1));
    const share = Math.min(1, (MOST_ROWS * devicePixelRatio) / sizes.reduce((a, b) => a + b, 0));
    this.layers = specs.map((spec, i) => {
      const neurons = sizes[i];
      const layer = { name: spec.name, neurons, rows: Math.ceil(neurons * share), begin, colour: i % 2 ? "--odd" : "--even", spikes: new Uint32Array(VISIBLE) };
      begin += layer.rows;
      return layer;
    });
    this.rows = Math.max(begin, 1);
    this.picture = new OffscreenCanvas(VISIBLE, this.rows);
    this.context = this.picture.getContext("2d", { willReadFrequently: true });
    this.column = this.context.createImageData(1, this.rows);
    this.pixels = new Uint32Array(this.column.data.buffer);
  }

  clear() {
    this.context.clearRect(0, 0, VISIBLE, this.rows);
    this.drawn = null;
    for (const layer of this.layers) layer.spikes.fill(0);
  }

  add(tensors) {
    this.pixels.fill(0);
    for (const { name, neurons, rows, begin, colour: role, spikes } of this.layers) {
      const ink = packed(role);
      const fired = tensors[name];
      let sum = 0;
      for (let i = 0; i < neurons; i++) {
        if (!fired[i]) continue;
        sum++;
        this.pixels[begin + Math.floor((i * rows) / neurons)] = ink;
      }
      spikes[step % VISIBLE] = sum;
    }
    this.context.putImageData(this.column, step % VISIBLE, 0);
  }

  /** Move what is drawn to the left, and draw the steps since then at the right. */
  draw() {
    const canvas = find("raster");
    const [context, width, height, resized] = fitted(canvas);
    const margin = 12 * devicePixelRatio;
    const [begin, visible] = [6 * margin, width - 6 * margin];
    const place = (at) => width - Math.round((step * visible) / VISIBLE) + Math.round((at * visible) / VISIBLE);
    const oldest = Math.max(0, step - VISIBLE);
    const moves = !resized && this.drawn !== null && this.drawn >= oldest;
    const from = moves ? this.drawn : oldest;
    const kept = place(from) - begin;
    if (moves && kept > 0) {
      context.globalCompositeOperation = "copy"; // it clears the rest
      context.drawImage(canvas, width - kept, 0, kept, height, begin, 0, kept, height);
      context.globalCompositeOperation = "source-over";
    } else {
      context.clearRect(0, 0, width, height);
    }
    context.imageSmoothingEnabled = false;
    const bottom = height - 2 * devicePixelRatio;
    for (let first = from, end; first < step; first = end) { // the picture is a ring of columns
      end = Math.min(step, first - (first % VISIBLE) + VISIBLE);
      for (const mark of [0, 1, 2, 3]) { // marks of two pixels: a single row or column would be hard to see
        const [left, top] = [place(first) - (mark & 1) * devicePixelRatio, (mark >> 1) * devicePixelRatio];
        context.drawImage(this.picture, first % VISIBLE, 0, end - first, this.rows, left, top, place(end) - place(first), bottom);
      }
    }
    this.drawn = step;
    context.font = `${margin}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    for (const { name, begin, rows, colour: role } of this.layers) {
      context.fillStyle = colour(role);
      context.fillText(name, 0, ((begin + rows / 2) * height) / this.rows, 5.5 * margin);
    }
  }

  report() {
    const steps = Math.min(step, VISIBLE);
    find("window").textContent = steps;
    const sums = this.layers.map(({ spikes }) => spikes.reduce((a, b) => a + b, 0));
    this.layers.forEach(({ neurons }, i) => {
      const rate = steps ? (sums[i] * 1000) / (neurons * steps * model.contract.dt) : 0;
      const cells = find("rates").rows[i].cells;
      cells[2].textContent = sums[i];
      cells[3].textContent = `${digits.format(rate)} Hz`;
    });
  }
}

/** The potential of one neuron over the last steps. */
class Trace {
  constructor() {
    this.specs = model.states.filter(({ kind }) => kind === "potential");
    this.values = new Float32Array(VISIBLE);
    find("potentials").hidden = !this.specs.length;
    for (const { name } of this.specs) find("potential").append(new Option(name));
    find("potential").onchange = find("neuron").oninput = () => this.select();
    this.select();
  }

  select() {
    this.spec = this.specs[find("potential").selectedIndex];
    const size = this.spec?.axes.reduce((n, axis) => n * (axis.size ?? 1), 1);
    this.neuron = Math.min(Math.max(Math.trunc(Number(find("neuron").value)) || 0, 0), (size ?? 1) - 1);
    find("neuron").max = size - 1;
    this.length = 0;
    this.text = "";
    this.draw();
    this.report();
  }

  add(state) {
    if (!this.spec) return;
    this.values[this.length++ % VISIBLE] = state[this.spec.name].data[this.neuron];
  }

  draw() {
    if (!this.spec) return;
    const [context, width, height] = fitted(find("trace"));
    context.clearRect(0, 0, width, height);
    const count = Math.min(this.length, VISIBLE);
    const value = (i) => this.values[(this.length - count + i) % VISIBLE];
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < count; i++) [low, high] = [Math.min(low, value(i)), Math.max(high, value(i))];
    this.text = count ? `${digits.format(value(count - 1))} ${this.spec.unit}, between ${digits.format(low)} and ${digits.format(high)}` : "";
    context.strokeStyle = colour("--even");
    context.lineWidth = 1.5 * devicePixelRatio;
    context.beginPath();
    for (let i = 0; i < count; i++)
      context.lineTo(((VISIBLE - count + i + 0.5) * width) / VISIBLE, height * (0.95 - (0.9 * (value(i) - low)) / (high - low || 1)));
    context.stroke();
  }

  report() {
    find("value").textContent = this.text;
  }
}

/** The weights that learning changes, as a picture: a tile for each target neuron if the source is an image. */
class Weights {
  constructor() {
    this.specs = model.states.filter(({ kind, axes }) => kind === "weight" && axes.length === 2);
    this.initial = model.initialState();
    find("weights").hidden = !learns;
    find("pictured").hidden = find("matrix").hidden = !this.specs.length;
    find("scaling").hidden = !model.normalises;
    find("auto-steps").textContent = site.steps;
    find("auto").checked = model.normalises;
    for (const { name } of this.specs) find("weight").append(new Option(name));
    this.text = "";
    find("weight").onchange = () => (this.draw(), this.report());
  }

  draw() {
    const spec = this.specs[find("weight").selectedIndex];
    if (!spec) return;
    const { data, shape: [from, to] } = model.state[spec.name];
    const initial = this.initial[spec.name].data;
    const image = site.inputs.find(({ image: drawn, size }) => drawn && size === from);
    const [tileHeight, tileWidth] = image ? [image.height, image.width] : [from, 1];
    const across = image ? Math.ceil(Math.sqrt(2 * to)) : to;
    const gap = image ? 1 : 0;
    const canvas = find("matrix");
    canvas.width = across * (tileWidth + gap);
    canvas.height = Math.ceil(to / across) * (tileHeight + gap);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const picture = context.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(picture.data.buffer);
    const ink = packed("--even") & 0xffffff;
    let [low, high, changed] = [Infinity, -Infinity, 0];
    for (let i = 0; i < data.length; i++) {
      if (data[i] < low) low = data[i];
      if (data[i] > high) high = data[i];
      if (data[i] !== initial[i]) changed++;
    }
    for (let target = 0; target < to; target++) {
      const corner = Math.floor(target / across) * (tileHeight + gap) * canvas.width + (target % across) * (tileWidth + gap);
      for (let source = 0; source < from; source++) {
        const alpha = Math.round((255 * (data[source * to + target] - low)) / (high - low || 1));
        pixels[corner + Math.floor(source / tileWidth) * canvas.width + (source % tileWidth)] = (alpha << 24) | ink;
      }
    }
    context.putImageData(picture, 0, 0);
    this.text = `${whole.format(changed)} of ${whole.format(data.length)} weights differ from the first ones. They are between ${digits.format(low)} and ${digits.format(high)}.`;
  }

  report() {
    find("learnt").textContent = this.text;
  }
}

const colours = new Map();
function colour(name) { // a canvas does not read custom properties
  if (!colours.has(name)) {
    const probe = document.createElement("span");
    probe.className = "probe";
    document.body.append(probe);
    probe.style.color = `var(${name})`;
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

const inks = new Map();
function packed(name) {
  if (!inks.has(name)) {
    const [red, green, blue] = colour(name).match(/[\d.]+/g).map(Number);
    inks.set(name, (255 << 24) | (blue << 16) | (green << 8) | red);
  }
  return inks.get(name);
}

/** The context of a canvas with a pixel for each of the screen's, and whether that has changed and so cleared it. */
function fitted(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.round(length * devicePixelRatio));
  const resized = canvas.width !== width || canvas.height !== height;
  if (resized) Object.assign(canvas, { width, height });
  return [canvas.getContext("2d"), width, height, resized];
}

function advance() {
  if (learns && inSample >= site.steps && find("auto").checked) endSample();
  const inputs = Object.fromEntries(model.inputs.map(({ name }, i) => [name, sources[i].next()]));
  const outputs = model.step(inputs);
  history.raster.add({ ...inputs, ...outputs });
  step++;
  if (!find("potentials").hidden) history.trace.add(model.state);
  if (counts) {
    const spikes = outputs[`${site.readout.layer}.s`];
    for (let i = 0; i < counts.length; i++) counts[i] += spikes[i];
    shown++;
  }
  inSample++;
}

/** Scale the weights, if a rule has a norm, and rest: what was learnt stays. */
function endSample() {
  if (model.normalises) model.normalise();
  samples++;
  nextSample();
}

function nextSample() {
  model.rest();
  counts?.fill(0);
  shown = inSample = 0;
}

/** Draw; the texts change at most TEXTS_MS apart while the network runs, because each change lays out the page. */
function show(now = Infinity) {
  history.raster.draw();
  history.trace.draw();
  if (!find("weights").hidden) history.weights.draw();
  if (now - reported < TEXTS_MS) return;
  reported = now === Infinity ? 0 : now;
  history.raster.report();
  history.trace.report();
  if (!find("weights").hidden) history.weights.report();
  find("clock").textContent = `Step ${step}, ${digits.format(step * model.contract.dt)} ms${learns ? `, sample ${samples + 1}` : ""}`;
  if (counts) answer();
}

function answer() {
  const { label, votes } = vote(site.readout, counts);
  const most = Math.max(...votes);
  votes.forEach((votesOf, i) => (find("votes").children[i].lastChild.value = most ? votesOf / most : 0));
  const drawn = sources.some((source) => source.image && source.cells.some(Boolean));
  const text = !drawn ? "Draw a digit." : shown < site.steps / 5 ? "Looking." : label < 0 ? "No neuron responds to it." : `This looks like a ${label}.`;
  if (find("label").textContent !== text) find("label").textContent = text; // a screen reader says each change
}

function restart() {
  model.reset(1);
  begin();
}

function begin() {
  step = shown = reported = samples = inSample = 0;
  random = uniform(SEED);
  counts?.fill(0);
  history.raster.clear();
  history.trace.length = 0;
  show();
}

function setRunning(on) {
  running = on;
  find("run").textContent = on ? "Pause" : "Run";
}

let due = 0;
let before = 0;
function frame(now) {
  const elapsed = Math.min(now - before, 100);
  before = now;
  if (running) {
    due = Math.min(due + (elapsed * speed()) / 1000, VISIBLE);
    const until = performance.now() + BUDGET_MS;
    guarded(() => {
      const first = step;
      for (; due >= 1 && performance.now() < until; due--) advance();
      if (step !== first) show(now);
    });
  }
  requestAnimationFrame(frame);
}

function speed() { // 1 to 10,000 steps a second
  return Math.round(10 ** (find("speed").value / 25));
}

function guarded(action) {
  try {
    find("error").hidden = true;
    action();
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  setRunning(false);
  find("error").hidden = false;
  find("error").textContent = error.message;
  if (!(error instanceof DeploySnnError)) throw error;
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([model.saveState()], { type: "application/octet-stream" }));
  link.download = `${site.name}-state.safetensors`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function open(file) {
  const bytes = await file.arrayBuffer();
  guarded(() => {
    const kept = model.state;
    model.loadState(bytes);
    if (model.batch !== 1) {
      const { batch } = model;
      model.state = kept;
      throw new DeploySnnError(`${file.name} holds the state of ${batch} rows; this page runs one`);
    }
    begin();
  });
}

function listen() {
  find("run").onclick = () => guarded(() => (setRunning(!running), show()));
  find("step").onclick = () => guarded(() => (setRunning(false), advance(), show()));
  find("reset").onclick = () => guarded(restart);
  find("save").onclick = () => guarded(save);
  find("load").onclick = () => find("file").click();
  find("file").onchange = ({ target }) => {
    if (target.files[0]) open(target.files[0]);
    target.value = "";
  };
  find("speed").oninput = () => (find("speed-text").textContent = `${digits.format(speed())} steps a second`);
  find("speed").oninput();
  find("classify").onclick = () => guarded(() => {
    setRunning(false);
    if (learns) nextSample();
    else restart();
    for (let i = 0; i < site.steps; i++) advance();
    show();
  });
  find("sample").onclick = () => guarded(() => (endSample(), show()));
  const redraw = () => {
    colours.clear();
    inks.clear();
    history.raster.drawn = null;
    for (const source of sources) source.paint?.();
    show();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", redraw);
}

/** Terms are explained while the pointer or the focus is on them; Escape hides the explanation. */
function explain() {
  for (const term of document.querySelectorAll(".term")) {
    const tip = find(term.getAttribute("aria-describedby"));
    const set = (on) => () => (tip.hidden = !on);
    term.onpointerenter = term.onfocus = set(true);
    term.onpointerleave = term.onblur = set(false);
    term.onkeydown = (event) => event.key === "Escape" && (tip.hidden = true);
    tip.hidden = true;
  }
}

async function bytesOf(name) {
  const response = await fetch(name);
  if (!response.ok) throw new DeploySnnError(`${name} cannot be fetched: status ${response.status}`);
  return response;
}

function describe({ wrong, steps, exact }) {
  if (wrong)
    throw new DeploySnnError(`The self-check failed: at step ${wrong.step}, element ${wrong.index} of ${wrong.tensor} is ${wrong.actual} instead of ${wrong.expected}.`);
  return `Self-check passed: ${steps} recorded steps give ${exact ? "exactly the same spikes and states" : "the same spikes, and states within rounding,"} here.`;
}

async function start() {
  site = await (await bytesOf("site.json")).json();
  document.title = `${site.name}: a spiking network`;
  find("name").textContent = site.name;
  model = await load("model.wasm", site.weights ? { weights: site.weights } : {});
  find("status").textContent = site.golden ? describe(model.check(await (await bytesOf("golden.safetensors")).arrayBuffer()))
    : "The bundle has no golden trace, so this page could not check itself.";
  learns = model.states.some(isLearnt);
  random = uniform(SEED);
  sources = model.inputs.map(sourceOf);
  if (site.readout) {
    find("answer").hidden = false;
    counts = new Uint32Array(site.readout.assignments.length);
    for (let label = 0; label <= Math.max(...site.readout.assignments); label++) {
      const item = document.createElement("li");
      const bar = document.createElement("meter");
      bar.setAttribute("aria-label", `votes for ${label}`);
      item.append(String(label), bar);
      find("votes").append(item);
    }
  }
  history = { raster: new Raster(), trace: new Trace(), weights: new Weights() };
  for (const { name, neurons } of history.raster.layers) {
    const row = find("rates").insertRow();
    row.innerHTML = "<th scope='row'></th><td></td><td></td><td></td>";
    row.cells[0].textContent = name;
    row.cells[1].textContent = neurons;
  }
  listen();
  begin();
  for (const control of document.querySelectorAll("button:disabled, input:disabled")) control.disabled = false;
  setRunning(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  requestAnimationFrame(frame);
}

explain();
start().catch((error) => {
  find("status").textContent = "The network does not run.";
  fail(error);
});
