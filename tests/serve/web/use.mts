// A program that uses the whole module, for the type checker only.
import { DeploySnnError, isLearnt, load, readContract, readTensors, vote, writeTensors } from "../../../serve/web/deploy-snn.js";
import type { Checked, Model, Tensor } from "../../../serve/web/deploy-snn.js";

const model: Model = await load(new URL("file:///model.wasm"), { weights: new Uint8Array(8) });
const spikes: Float32Array | Uint8Array = model.step({ x: [1, 2] }).s;
const sequence: Tensor = model.run({ x: { data: new Float32Array(8) } }).s;
const checked: Checked = model.check(new ArrayBuffer(8));
const where: number | undefined = checked.wrong?.step;
model.reset(2);
if (model.normalises) model.normalise();
model.rest();
const learnt: boolean = isLearnt(model.states[0]);
model.state = { ...model.initialState(), v: [0, 1] };
model.loadState(writeTensors(readTensors(model.saveState())));
const dt: number = readContract(new Uint8Array(8)).dt;
const size: number | null = model.inputs[0].axes[0].size;
const label: number = vote({ layer: "y", assignments: [0, 1] }, spikes).label;
if (new DeploySnnError("no").name === "DeploySnnError") console.log(sequence.shape, where, dt, size, label, learnt);
// @ts-expect-error: a name is not a tensor
model.step({ x: "loud" });
// @ts-expect-error: a model is made by load
model.contract = null;

import * as ort from "../../../serve/web/node_modules/onnxruntime-node/dist/index.js";
import { open } from "../../../serve/web/onnxruntime-host.js";

const onnx = await open(ort, "export/lif", { intraOpNumThreads: 1 });
await onnx.reset(2);
const outputs: Record<string, Tensor> = await onnx.run({ x: { shape: [1, 2, 8], data: new Float32Array(16) } });
onnx.state = model.state;
console.log(outputs, (await onnx.check()).wrong);
