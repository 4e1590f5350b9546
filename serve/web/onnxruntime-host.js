/**
 * Run a bundle's step.onnx with ONNX Runtime for JavaScript, which the caller brings: onnxruntime-node or onnxruntime-web.
 *
 *     import * as ort from "onnxruntime-node";
 *     import { open } from "./onnxruntime-host.js";
 *     const model = await open(ort, "export/lif/");
 *     const { wrong } = await model.check();            // the golden trace; null if all is equal
 *     const outputs = await model.run({ x: { shape: [3, 1, 8], data: new Float32Array(24).fill(20) } });
 *
 * The bundle is a URL or, in Node, a folder. The state is data: it enters the graph as `v` and leaves it as `next.v`.
 */

import { DeploySnnError, readTensors } from "./deploy-snn.js";

const MANIFEST_SCHEMA = 2;
const CONTRACT_VERSION = 2;
const TOLERANCE = 1e-5; // of the largest magnitude of a tensor, where the contract names a rounding
const FEEDS = ["drive", "noise", "reward"];
const TYPES = { float32: "float32", bool: "bool" };

/** Open a bundle with the module `ort` of onnxruntime-node or onnxruntime-web. `options` are those of its session. */
export async function open(ort, bundle, options = {}) {
  const read = reader(bundle);
  const { schema_version: schema, contract } = JSON.parse(new TextDecoder().decode(await read("manifest.json")));
  if (schema > MANIFEST_SCHEMA || contract?.contract_version !== CONTRACT_VERSION)
    throw new DeploySnnError(`the manifest of ${bundle} is of another version: this module reads schema ${MANIFEST_SCHEMA} and contract ${CONTRACT_VERSION}`);
  let session;
  try {
    session = await ort.InferenceSession.create(await read("step.onnx"), { graphOptimizationLevel: "all", ...options });
  } catch (error) {
    if (error instanceof DeploySnnError) throw error;
    throw new DeploySnnError(`ONNX Runtime cannot load step.onnx of ${bundle}: ${String(error.message ?? error).split("\n")[0]}`);
  }
  const model = new OnnxModel(ort, session, contract, read);
  for (const [what, found, names] of [["inputs", session.inputNames, model.feeds], ["outputs", session.outputNames, model.fetches]])
    if (String([...found].sort()) !== String([...names].sort()))
      throw new DeploySnnError(`step.onnx of ${bundle} has the ${what} ${found.join(", ")}; the manifest names ${names.join(", ")}`);
  await model.reset();
  return model;
}

export class OnnxModel {
  #ort; #session; #read; #initial;

  constructor(ort, session, contract, read) {
    const having = (...roles) => contract.tensors.filter(({ role }) => roles.includes(role));
    this.#ort = ort;
    this.#session = session;
    this.#read = read;
    this.contract = contract;
    this.inputs = having(...FEEDS);
    this.states = having("state");
    this.outputs = having("spikes", "record");
    this.feeds = [...this.inputs, ...this.states].map(({ name }) => name);
    this.fetches = [...this.outputs.map(({ name }) => name), ...this.states.map(({ name }) => `next.${name}`)];
    this.state = {}; // tensors { dtype, shape, data } by name; assign one to continue from it
  }

  /** Return to the initial state, for `batch` rows. */
  async reset(batch = 1) {
    this.#initial ??= readTensors(await this.#read("initial_state.safetensors"), "initial_state.safetensors");
    this.state = Object.fromEntries(this.states.map((spec) => [spec.name, rows(this.#initial[spec.name], spec, batch)]));
  }

  /** One step: tensors { shape, data } by name. Returns the outputs by name; the state advances. */
  async step(inputs) {
    const feeds = {};
    for (const spec of this.inputs) feeds[spec.name] = this.#tensor(spec, inputs[spec.name], "input");
    for (const spec of this.states) feeds[spec.name] = this.#tensor(spec, this.state[spec.name], "state");
    const results = await this.#session.run(feeds);
    const taken = (spec, name) => ({ dtype: spec.dtype, shape: [...results[name].dims], data: results[name].data.slice() });
    this.state = Object.fromEntries(this.states.map((spec) => [spec.name, taken(spec, `next.${spec.name}`)]));
    return Object.fromEntries(this.outputs.map((spec) => [spec.name, taken(spec, spec.name)]));
  }

  /** A recording: tensors [time, batch, ...] by name. Returns the outputs, [time, batch, ...]. */
  async run(inputs) {
    const steps = inputs[this.inputs[0].name]?.shape[0];
    const found = {};
    for (let step = 0; step < steps; step++)
      for (const [name, { dtype, shape, data }] of Object.entries(await this.step(slice(inputs, step)))) {
        found[name] ??= { dtype, shape: [steps, ...shape], data: new data.constructor(steps * data.length) };
        found[name].data.set(data, step * data.length);
      }
    return found;
  }

  /**
   * Run the golden trace and compare every spike and every state. Returns { steps, compared, exact, wrong }: `wrong` is null,
   * or the first difference as { step, tensor, index, expected, actual }. The model is then at the end of the trace.
   *
   * Where the contract names no rounding, all values must be equal. Otherwise each step starts from the recorded state, and
   * floats may differ by 1e-5 of the largest magnitude of their tensor.
   */
  async check() {
    const groups = { start: {}, inputs: {}, outputs: {}, states: {} };
    for (const [path, value] of Object.entries(readTensors(await this.#read("golden.safetensors"), "golden.safetensors"))) {
      const at = path.indexOf("/");
      groups[path.slice(0, at)][path.slice(at + 1)] = value;
    }
    const exact = this.contract.rounding.length === 0;
    const steps = groups.inputs[this.inputs[0].name].shape[0];
    const tolerance = (name, dtype) => (exact || dtype === "bool" ? 0
      : TOLERANCE * (groups.outputs[name] ?? groups.states[name]).data.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
    this.state = groups.start;
    let compared = 0;
    for (let step = 0; step < steps; step++) {
      if (!exact && step) this.state = slice(groups.states, step - 1);
      const actual = { ...(await this.step(slice(groups.inputs, step))), ...this.state };
      for (const [name, { dtype, data }] of Object.entries({ ...slice(groups.outputs, step), ...slice(groups.states, step) })) {
        const accepted = tolerance(name, dtype);
        for (let index = 0; index < data.length; index++) {
          const value = actual[name].data[index];
          if (value !== data[index] && !(Math.abs(value - data[index]) <= accepted))
            return { steps, compared, exact, wrong: { step, tensor: name, index, expected: data[index], actual: value } };
        }
        compared += data.length;
      }
    }
    return { steps, compared, exact, wrong: null };
  }

  #tensor(spec, value, what) {
    const fits = value?.shape?.length === spec.axes.length && spec.axes.every(({ size }, i) => size === null || size === value.shape[i]);
    if (!fits) throw new DeploySnnError(`${what} '${spec.name}' is [${value?.shape ?? "missing"}]; expected [${spec.axes.map(({ name, size }) => size ?? name).join(", ")}]`);
    return new this.#ort.Tensor(TYPES[spec.dtype], value.data, value.shape);
  }
}

function slice(tensors, step) {
  return Object.fromEntries(Object.entries(tensors).map(([name, { dtype, shape: [steps, ...shape], data }]) => {
    const size = data.length / steps;
    return [name, { dtype, shape, data: data.slice(step * size, (step + 1) * size) }];
  }));
}

/** The initial state of one row, for a batch: its rows are equal. The batch axis may be any axis. */
function rows({ dtype, shape, data }, { axes }, batch) {
  const axis = axes.findIndex(({ size }) => size === null);
  if (axis < 0) return { dtype, shape, data: data.slice() };
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const repeated = new data.constructor(data.length * batch);
  for (let i = 0; i < repeated.length; i++) repeated[i] = data[Math.floor(i / (inner * batch)) * inner + (i % inner)];
  return { dtype, shape: shape.map((size, i) => (i === axis ? batch : size)), data: repeated };
}

/** A function that reads a file of the bundle. */
function reader(bundle) {
  const base = String(bundle).replace(/\/*$/, "/");
  const isFolder = typeof process !== "undefined" && !/^https?:/.test(base);
  return async (name) => {
    try {
      if (isFolder) {
        const { readFile } = await import("node:fs/promises");
        return new Uint8Array(await readFile(base.startsWith("file:") ? new URL(name, base) : base + name));
      }
      const response = await fetch(base + name);
      if (!response.ok) throw new Error(`status ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw new DeploySnnError(`${base}${name} cannot be read: ${error.message}`);
    }
  };
}
