// Train the bundles in the given folders on run.safetensors: run the first part step by step, call normalise and rest, and run
// the second part in one call. Write the states after every step and after each of these calls to learnt.safetensors.
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { load, readTensors, writeTensors } from "../../../serve/web/deploy-snn.js";

const [first, ...folders] = process.argv.slice(2);
for (const folder of folders) {
  const model = await load(pathToFileURL(`${folder}/model.wasm`));
  const recording = Object.entries(readTensors(await readFile(`${folder}/run.safetensors`)));
  model.loadState(await readFile(`${folder}/start.safetensors`));
  const [steps, batch] = recording[0][1].shape;
  const between = (begin, end) => Object.fromEntries(recording.map(([name, { data }]) => {
    const size = data.length / steps;
    return [name, data.subarray(begin * size, end * size)];
  }));
  const written = {};
  const put = (group, tensors) => Object.entries(tensors).forEach(([name, value]) => (written[`${group}/${name}`] = value));
  for (let step = 0; step < first; step++) {
    const outputs = model.step(between(step, step + 1));
    const shaped = model.outputs.map(({ name, dtype, axes }) => [name, { dtype, shape: axes.map(({ size }) => size ?? batch), data: outputs[name] }]);
    put(step, { ...model.state, ...Object.fromEntries(shaped) });
  }
  let message = null;
  try {
    model.normalise();
  } catch (error) {
    message = `${error.name}: ${error.message}`;
  }
  put("normalised", model.state);
  model.rest();
  put("rest", model.state);
  put("second", model.run(between(first, steps)));
  put("last", model.state);
  await writeFile(`${folder}/learnt.safetensors`, writeTensors(written));
  console.log(JSON.stringify(message));
}
