/** Run a bundle's step.onnx with ONNX Runtime for JavaScript: onnxruntime-node or onnxruntime-web. */

import type { Checked, Tensor, TensorSpec } from "./deploy-snn.js";

/** A tensor as input: spikes and drives are float32. */
export interface Input {
  shape: number[];
  data: Float32Array | Uint8Array;
}

/** The part of onnxruntime-node and onnxruntime-web that is used. */
export interface OnnxRuntime {
  InferenceSession: { create(model: Uint8Array, options?: object): Promise<any> };
  Tensor: new (type: any, data: any, shape: any) => any;
}

/** A network with its state. `open` makes one. */
export class OnnxModel {
  private constructor();
  readonly contract: { readonly dt: number; readonly tensors: readonly TensorSpec[]; readonly rounding: readonly object[] };
  readonly inputs: readonly TensorSpec[];
  readonly states: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** The state after the last step. Assign one to continue from it. */
  state: Record<string, Tensor>;
  /** Return to the initial state, for `batch` rows. */
  reset(batch?: number): Promise<void>;
  /** One step: tensors [batch, ...] by name. */
  step(inputs: Record<string, Input>): Promise<Record<string, Tensor>>;
  /** A recording: tensors [time, batch, ...] by name. */
  run(inputs: Record<string, Input>): Promise<Record<string, Tensor>>;
  /** Run the golden trace and compare every spike and every state. The model is then at the end of the trace. */
  check(): Promise<Checked>;
}

/** Open a bundle: its URL or, in Node, its folder. `options` are those of ONNX Runtime's session. */
export function open(ort: OnnxRuntime, bundle: string | URL, options?: object): Promise<OnnxModel>;
