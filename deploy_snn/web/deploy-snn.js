/**
 * Run a spiking neural network that `deploy-snn export --format wasm` compiled, in a browser or in Node.
 *
 *     import { load } from "./deploy-snn.js";
 *     const model = await load("model.wasm");
 *     const { s } = model.step({ x: new Float32Array(8).fill(20) });   // Uint8Array, 0 or 1
 *     const saved = model.saveState();                                 // the file of `deploy-snn run --state-out`
 *
 * State, inputs and outputs are in the memory of the module. A tensor is { dtype, shape, data }, where dtype is
 * "float32" or "bool"; wherever one is expected, its data alone will do. Every error of this module is a
 * DeploySnnError, with one sentence.
 */

const CONTRACT = "deploy_snn.contract";
const VERSION = 2;
const PAGE = 2 ** 16;
const ALIGNMENT = 64;
const WINDOW = 2 ** 20; // a run hands over at most so many bytes at once, if a step does not take more
const LARGEST = 2 ** 32 - PAGE;
const TOLERANCE = 1e-5; // of the largest magnitude of a tensor, where the contract names a rounding
const LEARNT = ["weight", "threshold"]; // kinds of the states that learning changes
const ROLES = { inputs: ["drive", "noise", "reward"], states: ["state"], outputs: ["spikes", "record"] };
const ARRAYS = { float32: Float32Array, bool: Uint8Array };

export class DeploySnnError extends Error {
  name = "DeploySnnError";
}

/** Load a module: a URL, a Response, or its bytes. `weights` is the file beside it that a large model has. */
export async function load(source, { weights } = {}) {
  const { bytes, where } = await fetched(source);
  const contract = readContract(bytes, where);
  let instance;
  try {
    const module = await WebAssembly.compile(bytes);
    if (WebAssembly.Module.imports(module).length) throw new Error("it imports functions, which no model does");
    instance = await WebAssembly.instantiate(module, {});
  } catch (error) {
    throw new DeploySnnError(`${where} cannot be loaded as WebAssembly: ${firstLine(error)}`);
  }
  const run = Object.keys(instance.exports).find((name) => name.endsWith("_run"));
  const prefix = run?.slice(0, -"_run".length);
  const needed = ["_run", "_state_size", "_initial_state", ...(contract.states.length ? ["_load_state", "_store_state"] : [])];
  const { memory, __heap_base: base } = instance.exports;
  if (!run || !memory || !base || needed.some((name) => typeof instance.exports[prefix + name] !== "function"))
    throw new DeploySnnError(`${where} does not have the functions of a model: export the model again`);
  const takesWeights = `${prefix}_set_weights` in instance.exports;
  if (takesWeights && !weights) throw new DeploySnnError(`${where} needs its file of weights: pass it as the option weights`);
  if (!takesWeights && weights) throw new DeploySnnError(`${where} takes no file of weights`);
  return new Model(contract, instance.exports, prefix, takesWeights ? (await fetched(weights)).bytes : new Uint8Array(0));
}

export class Model {
  #exports; #prefix; #weights; #rowBytes; #steps; #end; #states; #pointers; #places; #views; #batch = 0; #sizes = new Map();

  constructor(contract, exports, prefix, weights) {
    this.contract = contract;
    this.name = prefix;
    this.inputs = contract.inputs;
    this.states = contract.states;
    this.outputs = contract.outputs;
    this.#exports = exports;
    this.#prefix = prefix;
    this.#weights = weights;
    this.#rowBytes = this.#call("state_size");
    this.reset();
  }

  /** The number of rows, which run side by side. */
  get batch() {
    return this.#batch;
  }

  /** Whether every runtime computes the same bits. */
  get exact() {
    return this.contract.rounding.length === 0;
  }

  /** Whether a learning rule has a norm, so that `normalise` has something to do. */
  get normalises() {
    return `${this.#prefix}_normalise` in this.#exports;
  }

  /** Return to the initial state, for `batch` rows. */
  reset(batch = this.#batch || 1) {
    if (!Number.isInteger(batch) || batch < 1) throw new DeploySnnError(`batch ${batch}: expected a whole number of at least 1`);
    if (batch !== this.#batch) this.#bind(batch);
    for (let row = 0; row < batch; row++) this.#call("initial_state", this.#row(row));
    this.#setWeights();
  }

  /** Start a new sample: return to the initial state, but keep what was learnt, the weights and thresholds that all rows share. */
  rest() {
    const before = this.state;
    this.reset();
    if (!this.states.length) return;
    this.#call("store_state", this.#states, this.#batch, this.#pointers.states);
    this.states.forEach((spec, i) => isLearnt(spec) && this.#views.states[i].set(before[spec.name].data));
    this.#call("load_state", this.#states, this.#batch, this.#pointers.states);
  }

  /** Scale the weights whose learning rule has a norm, as at the end of a sample. */
  normalise() {
    if (!this.normalises) throw new DeploySnnError("the program has no weights to normalise: no learning rule has a norm");
    this.#call("normalise", this.#states, this.#batch);
  }

  /** The state before the first step, for as many rows as the model has now. The model does not change. */
  initialState() {
    const before = this.state;
    this.reset();
    const initial = this.state;
    this.state = before;
    return initial;
  }

  /** One step: a tensor [batch, ...] for each input, to one for each output as its data, Float32Array or Uint8Array. */
  step(inputs) {
    this.#checkInputs(inputs, 1);
    this.#fill(inputs, 0, 1, 1);
    this.#execute(1);
    return Object.fromEntries(this.outputs.map((spec, i) => [spec.name, this.#output(i, 1).slice()]));
  }

  /** All steps of a sequence: tensors [time, batch, ...] by name, to tensors [time, batch, ...] by name. */
  run(inputs) {
    const steps = this.#stepsOf(inputs);
    this.#checkInputs(inputs, steps);
    const found = this.outputs.map((spec) => tensor(spec.dtype, [steps, ...shapeOf(spec, this.#batch)]));
    for (let first = 0; first < steps; first += this.#steps) {
      const count = Math.min(this.#steps, steps - first);
      this.#fill(inputs, first, count, steps);
      this.#execute(count);
      found.forEach((output, i) => output.data.set(this.#output(i, count), first * this.#size(this.outputs[i])));
    }
    return Object.fromEntries(this.outputs.map((spec, i) => [spec.name, found[i]]));
  }

  /** The state after the last step, by name, in copies. Assign a state to continue from it; its batch is then the model's. */
  get state() {
    if (this.states.length) this.#call("store_state", this.#states, this.#batch, this.#pointers.states);
    return Object.fromEntries(this.states.map((spec, i) => {
      const data = this.#views.states[i].slice();
      return [spec.name, { dtype: spec.dtype, shape: shapeOf(spec, this.#batch), data }];
    }));
  }

  set state(state) {
    for (const name of Object.keys(state))
      if (!this.states.some((spec) => spec.name === name)) throw new DeploySnnError(`unknown state '${name}'`);
    let batch = null;
    const given = this.states.map((spec) => {
      if (!(spec.name in state)) throw new DeploySnnError(`state '${spec.name}' is missing`);
      const value = state[spec.name];
      const axis = spec.axes.findIndex((each) => each.size === null);
      const data = dataOf(value);
      const rows = axis < 0 ? 1 : Array.isArray(value.shape) ? value.shape[axis] : data.length / this.#size(spec, 1);
      if (axis >= 0) batch ??= rows;
      const shape = shapeOf(spec, rows);
      const fits = data.length === shape.reduce((a, b) => a * b, 1) && (!value.shape || String(value.shape) === String(shape));
      if (!fits || !(rows >= 1) || (axis >= 0 && rows !== batch))
        throw new DeploySnnError(`state '${spec.name}' has the shape [${value.shape ?? data.length}]; expected ${described(spec)}`);
      if (value.dtype && value.dtype !== spec.dtype)
        throw new DeploySnnError(`state '${spec.name}' is ${value.dtype}; expected ${spec.dtype}`);
      finite(data, "state", spec.name);
      return data;
    });
    const before = batch === null || batch === this.#batch ? null : { batch: this.#batch, state: this.state };
    if (before) this.reset(batch);
    given.forEach((data, i) => this.#views.states[i].set(data));
    if (this.states.length && this.#call("load_state", this.#states, this.#batch, this.#pointers.states)) {
      if (before) this.state = before.state;
      throw new DeploySnnError("a state that holds spikes must be 0 or 1 everywhere");
    }
  }

  /** The state as the bytes of a .safetensors file, which `deploy-snn run --state-in` continues from. */
  saveState() {
    return writeTensors(this.state);
  }

  /** Continue from the bytes of a file that `saveState` or `deploy-snn run --state-out` wrote. */
  loadState(bytes) {
    this.state = readTensors(bytes, "the file");
  }

  /**
   * Run the golden trace of the bundle (the bytes of golden.safetensors) and compare every spike and every state of
   * every step. The state and the batch of the model stay as they were. Returns { steps, compared, exact, wrong }: `wrong`
   * is null, or the first difference as { step, tensor, index, expected, actual }.
   *
   * Where the contract names no rounding, all values must be equal. Otherwise each step starts from the recorded state,
   * and floats may differ by 1e-5 of the largest magnitude of their tensor; spikes must be equal in both cases.
   */
  check(golden) {
    const groups = { start: {}, inputs: {}, outputs: {}, states: {} };
    for (const [path, value] of Object.entries(readTensors(golden, "the golden trace"))) {
      const [group, ...name] = path.split("/");
      if (!(group in groups)) throw new DeploySnnError(`the golden trace holds '${path}'; expected names such as inputs/x`);
      groups[group][name.join("/")] = value;
    }
    const expected = { ...groups.outputs, ...groups.states };
    const specs = [...this.outputs, ...this.states];
    const missing = [...this.inputs.filter((spec) => !(spec.name in groups.inputs)), ...specs.filter((spec) => !(spec.name in expected))];
    if (missing.length) throw new DeploySnnError(`the golden trace is of another model: it lacks '${missing[0].name}'`);
    const [steps, batch] = groups.inputs[this.inputs[0].name].shape;
    for (const spec of [...this.inputs, ...specs]) {
      const shape = [steps, ...shapeOf(spec, batch)];
      const found = (spec.role in { drive: 1, noise: 1, reward: 1 } ? groups.inputs : expected)[spec.name].shape;
      if (String(found) !== String(shape))
        throw new DeploySnnError(`the golden trace is of another model: '${spec.name}' is [${found}], not [${shape}]`);
    }
    const before = { batch: this.#batch, state: this.state };
    try {
      this.reset(batch);
      if (this.states.length) this.state = groups.start;
      return this.#compare(groups, expected, specs, steps);
    } finally {
      this.reset(before.batch);
      this.state = before.state;
    }
  }

  #compare(groups, expected, specs, steps) {
    const slice = (value, step) => {
      const size = value.data.length / steps;
      return value.data.subarray(step * size, (step + 1) * size);
    };
    const accepted = specs.map((spec) => (this.exact || spec.dtype === "bool" ? 0
      : TOLERANCE * expected[spec.name].data.reduce((most, x) => Math.max(most, Math.abs(x)), 0)));
    let compared = 0;
    for (let step = 0; step < steps; step++) {
      if (!this.exact && step > 0) // shapes are of all steps: the data alone will do
        this.state = Object.fromEntries(this.states.map(({ name }) => [name, slice(groups.states[name], step - 1)]));
      const outputs = this.step(Object.fromEntries(this.inputs.map(({ name }) => [name, slice(groups.inputs[name], step)])));
      const state = this.state;
      for (const [i, { name }] of specs.entries()) {
        const actual = outputs[name] ?? state[name].data;
        const reference = slice(expected[name], step);
        for (let index = 0; index < reference.length; index++) {
          if (actual[index] === reference[index] || Math.abs(actual[index] - reference[index]) <= accepted[i]) continue;
          const wrong = { step, tensor: name, index, expected: reference[index], actual: actual[index] };
          return { steps, compared, exact: this.exact, wrong };
        }
        compared += reference.length;
      }
    }
    return { steps, compared, exact: this.exact, wrong: null };
  }

  #call(name, ...values) {
    try {
      return this.#exports[`${this.#prefix}_${name}`](...values);
    } catch (error) {
      throw new DeploySnnError(`the module failed in ${this.#prefix}_${name}: ${firstLine(error)}`);
    }
  }

  #execute(steps) {
    this.#call("run", this.#states, this.#batch, steps, this.#pointers.inputs, this.#pointers.outputs);
  }

  #row(row) {
    return this.#states + row * this.#rowBytes;
  }

  #setWeights() {
    if (!this.#weights.length) return;
    for (let row = 0; row < this.#batch; row++) this.#call("set_weights", this.#row(row), this.#places.weights);
  }

  /** The number of elements of one step. */
  #size(spec, batch = this.#batch) {
    if (batch === this.#batch) return this.#sizes.get(spec);
    return shapeOf(spec, batch).reduce((a, b) => a * b, 1);
  }

  #stepsOf(inputs) {
    const spec = this.inputs[0];
    if (!(spec.name in inputs)) throw new DeploySnnError(`input '${spec.name}' is missing; expected ${this.inputs.map(described).join("; ")}`);
    const steps = dataOf(inputs[spec.name]).length / this.#size(spec);
    if (!Number.isInteger(steps) || steps < 1)
      throw new DeploySnnError(`input '${spec.name}' has ${dataOf(inputs[spec.name]).length} elements; expected steps of ${this.#size(spec)}`);
    return steps;
  }

  /** All of a sequence at once: a refused one must not have changed the state. */
  #checkInputs(inputs, steps) {
    for (const name of Object.keys(inputs))
      if (!this.inputs.some((spec) => spec.name === name)) throw new DeploySnnError(`unknown input '${name}'; expected ${this.inputs.map(described).join("; ")}`);
    for (const spec of this.inputs) {
      if (!(spec.name in inputs)) throw new DeploySnnError(`input '${spec.name}' is missing; expected ${this.inputs.map(described).join("; ")}`);
      const data = dataOf(inputs[spec.name]);
      const size = this.#size(spec);
      if (data.length !== steps * size)
        throw new DeploySnnError(`input '${spec.name}' has ${data.length} elements; expected ${steps * size}, ${described(spec)}`);
      finite(data, "input", spec.name);
    }
  }

  #fill(inputs, first, count, steps) {
    this.inputs.forEach((spec, i) => {
      const data = dataOf(inputs[spec.name]);
      const size = this.#size(spec);
      this.#views.inputs[i].set(count === steps ? data : data.subarray(first * size, (first + count) * size));
    });
  }

  #output(i, steps) {
    return this.#views.outputs[i].subarray(0, steps * this.#size(this.outputs[i]));
  }

  /** Lay out the memory: weights, states, and as many steps of inputs and outputs as a window holds. */
  #bind(batch) {
    const bytes = (spec, steps = 1) => steps * this.#size(spec, batch) * ARRAYS[spec.dtype].BYTES_PER_ELEMENT;
    const perStep = [...this.inputs, ...this.outputs].reduce((sum, spec) => sum + bytes(spec), 0);
    const steps = Math.max(1, Math.floor(WINDOW / perStep));
    let end = this.#exports.__heap_base.value;
    const reserve = (size) => {
      const address = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
      end = address + size;
      return address;
    };
    const weights = reserve(this.#weights.length);
    const states = reserve(batch * this.#rowBytes);
    const groups = ["states", "inputs", "outputs"];
    const places = Object.fromEntries(groups.map((group) => [group, this[group].map((spec) => reserve(bytes(spec, group === "states" ? 1 : steps)))]));
    const pointers = Object.fromEntries(groups.map((group) => [group, reserve(4 * places[group].length)]));
    const { memory } = this.#exports;
    const missing = end - memory.buffer.byteLength;
    try {
      if (end > LARGEST) throw new RangeError();
      if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    } catch {
      throw new DeploySnnError(`batch ${batch} takes ${end} bytes, more than the memory of WebAssembly has`);
    }
    const { buffer } = memory;
    new Uint8Array(buffer, weights, this.#weights.length).set(this.#weights);
    new Uint8Array(buffer, states, batch * this.#rowBytes).fill(0);
    this.#views = {};
    for (const group of groups) {
      new Uint32Array(buffer, pointers[group], places[group].length).set(places[group]);
      this.#views[group] = this[group].map((spec, i) =>
        new ARRAYS[spec.dtype](buffer, places[group][i], (group === "states" ? 1 : steps) * this.#size(spec, batch)));
    }
    this.#sizes = new Map(groups.flatMap((group) => this[group].map((spec) => [spec, this.#size(spec, batch)])));
    this.#batch = batch;
    this.#steps = steps;
    this.#states = states;
    this.#pointers = pointers;
    this.#places = { weights };
  }
}

/** Whether a state of this record is learnt: it lasts from sample to sample. */
export function isLearnt(spec) {
  return LEARNT.includes(spec.kind) && !spec.axes.some(({ size }) => size === null);
}

/** Read a .safetensors file of float32 and bool tensors: its bytes, to { dtype, shape, data } by name. */
export function readTensors(bytes, where = "the file") {
  const data = asBytes(bytes);
  const refuse = (why) => new DeploySnnError(`${where} cannot be read as .safetensors: ${why}`);
  if (data.length < 8) throw refuse("it is too short");
  const length = Number(new DataView(data.buffer, data.byteOffset).getBigUint64(0, true));
  if (length > data.length - 8) throw refuse("its header is cut short");
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data.subarray(8, 8 + length)));
  } catch {
    throw refuse("its header is not JSON");
  }
  const found = {};
  for (const [name, entry] of Object.entries(header ?? {})) {
    if (name === "__metadata__") continue;
    const dtype = { F32: "float32", BOOL: "bool" }[entry?.dtype];
    if (!dtype) throw refuse(`'${name}' is neither F32 nor BOOL`);
    const { shape, data_offsets: offsets } = entry;
    const size = Array.isArray(shape) && shape.every((n) => Number.isInteger(n) && n >= 0)
      ? shape.reduce((a, b) => a * b, 1) * ARRAYS[dtype].BYTES_PER_ELEMENT : -1;
    const [begin, end] = Array.isArray(offsets) ? offsets : [];
    if (!(Number.isInteger(begin) && begin >= 0 && end - begin === size && 8 + length + end <= data.length))
      throw refuse(`'${name}' does not fit into the file`);
    const copy = data.slice(8 + length + begin, 8 + length + end); // its own buffer is aligned
    found[name] = { dtype, shape, data: new ARRAYS[dtype](copy.buffer, 0, copy.length / ARRAYS[dtype].BYTES_PER_ELEMENT) };
  }
  return found;
}

/** Write tensors by name as the bytes of a .safetensors file. The same tensors give the bytes that the Python library writes. */
export function writeTensors(tensors) {
  const order = Object.entries(tensors).sort(([a, x], [b, y]) =>
    ARRAYS[y.dtype].BYTES_PER_ELEMENT - ARRAYS[x.dtype].BYTES_PER_ELEMENT || (a < b ? -1 : 1));
  const header = {};
  let end = 0;
  for (const [name, { dtype, shape, data }] of order)
    header[name] = { dtype: dtype === "bool" ? "BOOL" : "F32", shape, data_offsets: [end, (end += data.byteLength)] };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = 8 + Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(start + end).fill(32, 8, start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(text, 8);
  for (const [name, { data }] of order)
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start + header[name].data_offsets[0]);
  return bytes;
}

/**
 * The label with the most votes, -1 without votes: `counts` are the spike counts of the readout's layer, and `readout` is the
 * entry of a bundle's manifest. A vote is the mean spike count of a label's neurons, weighted by their proportions. Returns
 * { label, votes }.
 */
export function vote({ assignments, proportions = [] }, counts) {
  const votes = new Float32Array(Math.max(-1, ...assignments) + 1);
  const neurons = new Float32Array(votes.length);
  assignments.forEach((label, i) => {
    if (label < 0) return;
    votes[label] += Math.fround(counts[i] * (proportions.length ? Math.fround(proportions[i][label]) : 1));
    neurons[label] += 1;
  });
  votes.forEach((sum, label) => (votes[label] = neurons[label] ? sum / neurons[label] : 0));
  const most = votes.reduce((best, each, label) => (each > votes[best] ? label : best), 0);
  return { label: votes[most] > 0 ? most : -1, votes };
}

/** Read the contract from the custom section of a module's bytes. */
export function readContract(bytes, where = "the module") {
  const text = section(asBytes(bytes), where);
  let contract;
  try {
    contract = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch {
    throw new DeploySnnError(`${where} holds a contract that is not JSON`);
  }
  const version = contract?.contract_version;
  if (version !== VERSION)
    throw new DeploySnnError(`${where} has a contract of version ${version}, but this module reads version ${VERSION}: ${version > VERSION ? "use a newer deploy-snn.js" : "export the model again"}`);
  const { tensors, rounding, dt } = contract;
  const known = Object.values(ROLES).flat();
  const isTensor = (spec) => typeof spec?.name === "string" && known.includes(spec.role) && spec.dtype in ARRAYS && Array.isArray(spec.axes)
    && spec.axes.every((axis) => typeof axis?.name === "string" && (axis.size === null ? axis.name === "batch" : Number.isInteger(axis.size) && axis.size > 0));
  if (!Array.isArray(tensors) || !tensors.every(isTensor) || !Array.isArray(rounding) || !(dt > 0))
    throw new DeploySnnError(`${where} holds a contract that is damaged`);
  const groups = Object.fromEntries(Object.entries(ROLES).map(([group, roles]) => [group, tensors.filter((spec) => roles.includes(spec.role))]));
  if (!groups.inputs.length || !groups.outputs.length) throw new DeploySnnError(`${where} holds a contract without inputs or outputs`);
  return { ...contract, ...groups };
}

function section(bytes, where) {
  const refuse = (why) => new DeploySnnError(`${where} cannot be loaded: ${why}`);
  if (String(bytes.subarray(0, 8)) !== "0,97,115,109,1,0,0,0") throw refuse("it does not begin as a WebAssembly module of version 1");
  let at = 8;
  const unsigned = () => {
    for (let value = 0, group = 0; group < 5 && at < bytes.length; group++) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * 2 ** (7 * group);
      if (byte < 0x80) return value;
    }
    throw refuse("the size of a section cannot be read");
  };
  while (at < bytes.length) {
    const kind = bytes[at++];
    const size = unsigned();
    const end = at + size;
    if (end > bytes.length) throw refuse("a section of it is cut short");
    if (kind === 0) {
      const length = unsigned();
      if (new TextDecoder().decode(bytes.subarray(at, at + length)) === CONTRACT) return bytes.subarray(at + length, end);
    }
    at = end;
  }
  throw refuse("it holds no contract of deploy_snn");
}

async function fetched(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return { bytes: asBytes(source), where: "the module" };
  const isResponse = typeof Response !== "undefined" && source instanceof Response;
  const where = String(isResponse ? source.url : source);
  let response;
  try {
    if (where.startsWith("file:")) {
      const { readFile } = await import("node:fs/promises"); // Node's fetch does not read files
      return { bytes: new Uint8Array(await readFile(new URL(where))), where };
    }
    response = isResponse ? source : await fetch(source);
  } catch (error) {
    throw new DeploySnnError(`${where} cannot be fetched: ${firstLine(error)}`);
  }
  if (!response.ok) throw new DeploySnnError(`${where} cannot be fetched: status ${response.status}`);
  return { bytes: new Uint8Array(await response.arrayBuffer()), where };
}

function asBytes(bytes) {
  return bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function tensor(dtype, shape) {
  return { dtype, shape, data: new ARRAYS[dtype](shape.reduce((a, b) => a * b, 1)) };
}

function dataOf(value) {
  return value.data ?? value;
}

function shapeOf(spec, batch) {
  return spec.axes.map((axis) => axis.size ?? batch);
}

function described(spec) {
  return `${spec.name} ${spec.dtype} [${spec.axes.map((axis) => axis.size ?? axis.name).join(", ")}]`;
}

function finite(data, what, name) {
  let [a, b, c, d] = [0, 0, 0, 0]; // four sums, because each addition waits for the one before it
  const whole = data.length - (data.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += data[i]; // as doubles, sums of float32 do not overflow: they are finite if all numbers are
    b += data[i + 1];
    c += data[i + 2];
    d += data[i + 3];
  }
  for (let i = whole; i < data.length; i++) a += data[i];
  if (Number.isFinite(a + b + c + d)) return;
  for (let i = 0; i < data.length; i++)
    if (!Number.isFinite(data[i])) throw new DeploySnnError(`${what} '${name}' must be finite, but is ${data[i]} at index ${i}`);
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0];
}
