/** Run a spiking neural network that `deploy-snn export --format wasm` compiled, in a browser or in Node. */

/** Numbers with their shape. Spikes, and states of the type bool, are 0 or 1. */
export type Tensor =
  | { dtype: "float32"; shape: number[]; data: Float32Array }
  | { dtype: "bool"; shape: number[]; data: Uint8Array };

/** A tensor, or its data alone. */
export type TensorLike = Tensor | { data: ArrayLike<number> } | Float32Array | Uint8Array | readonly number[];

/** The record of a tensor: its name, element type, named axes and role. The size of the axis "batch" is null. */
export interface TensorSpec {
  readonly name: string;
  readonly role: "drive" | "noise" | "reward" | "state" | "spikes" | "record";
  readonly kind: string | null;
  readonly dtype: "float32" | "bool";
  readonly axes: readonly { readonly name: string; readonly size: number | null }[];
  readonly owner: string;
  readonly initial: string;
  readonly unit: string;
}

/** All tensors that one step of `dt` milliseconds reads and returns. */
export interface Contract {
  readonly contract_version: 2;
  readonly dt: number;
  readonly tensors: readonly TensorSpec[];
  readonly rounding: readonly { readonly tensor: string; readonly operation: string }[];
  readonly inputs: readonly TensorSpec[];
  readonly states: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

/** The result of `check`. `wrong` is null, or the first difference: its step, tensor, and index within the step. */
export interface Checked {
  steps: number;
  compared: number;
  exact: boolean;
  wrong: null | { step: number; tensor: string; index: number; expected: number; actual: number };
}

/** How neurons vote for labels: the entry `readout` of a bundle's manifest. */
export interface Readout {
  layer: string;
  assignments: number[];
  proportions?: number[][];
}

/** What every function of this module throws: one sentence that says what is wrong and what is expected. */
export class DeploySnnError extends Error {
  name: "DeploySnnError";
}

/** A network with its state. `load` makes one. */
export class Model {
  private constructor();
  readonly name: string;
  readonly contract: Contract;
  readonly inputs: readonly TensorSpec[];
  readonly states: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** The number of rows, which run side by side. */
  readonly batch: number;
  /** Whether every runtime computes the same bits. */
  readonly exact: boolean;
  /** Whether a learning rule has a norm, so that `normalise` has something to do. */
  readonly normalises: boolean;
  /** Return to the initial state, for `batch` rows; by default as many as now. */
  reset(batch?: number): void;
  /** Start a new sample: return to the initial state, but keep the weights and thresholds that were learnt. */
  rest(): void;
  /** Scale the weights whose learning rule has a norm, as at the end of a sample. Throws if there are none. */
  normalise(): void;
  /** The state before the first step. The model does not change. */
  initialState(): Record<string, Tensor>;
  /** One step: a tensor [batch, ...] for each input, to the data of a tensor [batch, ...] for each output. */
  step(inputs: Record<string, TensorLike>): Record<string, Float32Array | Uint8Array>;
  /** All steps of a sequence: tensors [time, batch, ...] by name, to tensors [time, batch, ...] by name. */
  run(inputs: Record<string, TensorLike>): Record<string, Tensor>;
  /** The state after the last step, in copies. Assign a state to continue from it; its batch is then the model's. */
  get state(): Record<string, Tensor>;
  set state(state: Record<string, TensorLike>);
  /** The state as the bytes of a .safetensors file, which `deploy-snn run --state-in` continues from. */
  saveState(): Uint8Array;
  /** Continue from a file that `saveState` or `deploy-snn run --state-out` wrote. */
  loadState(bytes: ArrayBuffer | ArrayBufferView): void;
  /** Run the golden trace (the bytes of golden.safetensors) and compare every spike and state. The state stays as it was. */
  check(golden: ArrayBuffer | ArrayBufferView): Checked;
}

/** What `load` takes: a URL (in Node a file: URL too), a Response, or bytes. */
export type Source = string | URL | Response | ArrayBuffer | ArrayBufferView;

/** Load a module. `weights` is the file beside it that a large model has. */
export function load(source: Source, options?: { weights?: Source }): Promise<Model>;

/** Read the contract from a module's bytes. */
export function readContract(bytes: ArrayBuffer | ArrayBufferView, where?: string): Contract;

/** Whether a state is learnt: a weight or a threshold that lasts from sample to sample, and that all rows share. */
export function isLearnt(spec: TensorSpec): boolean;

/** Read a .safetensors file of float32 and bool tensors. */
export function readTensors(bytes: ArrayBuffer | ArrayBufferView, where?: string): Record<string, Tensor>;

/** Write tensors as a .safetensors file. The same tensors give the bytes that the Python library writes. */
export function writeTensors(tensors: Record<string, Tensor>): Uint8Array;

/** The label with the most votes, -1 without votes, for the spike counts of the readout's layer. */
export function vote(readout: Readout, counts: ArrayLike<number>): { label: number; votes: Float32Array };
