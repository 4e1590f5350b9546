// Check the golden traces of the bundles in the given folders, and run run.safetensors step by step and in one call. Write the
// outputs and states to node.safetensors in each folder, and print the results of `check` as JSON.
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { load, readTensors, writeTensors } from "../../../serve/web/deploy-snn.js";

const found = {};
for (const folder of process.argv.slice(2)) {
  const { files } = JSON.parse(await readFile(`${folder}/manifest.json`, "utf8"));
  const weights = Object.keys(files).find((name) => name === "model.weights");
  const url = (name) => pathToFileURL(`${folder}/${name}`);
  const model = await load(url("model.wasm"), weights ? { weights: url(weights) } : {});
  const checked = model.check(await readFile(`${folder}/golden.safetensors`));
  const recording = Object.entries(readTensors(await readFile(`${folder}/run.safetensors`)));
  const inputs = Object.fromEntries(recording);
  const [steps, batch] = recording[0][1].shape;
  const at = (step) => Object.fromEntries(recording.map(([name, { data }]) => {
    const size = data.length / steps;
    return [name, data.subarray(step * size, (step + 1) * size)];
  }));
  model.reset(batch);
  const written = {};
  const put = (name, { dtype, shape, data }, step) => {
    written[name] ??= { dtype, shape: [steps, ...shape], data: new data.constructor(steps * data.length) };
    written[name].data.set(data, step * data.length);
  };
  for (let step = 0; step < steps; step++) {
    const outputs = model.step(at(step));
    for (const { name, dtype, axes } of model.outputs) {
      put(`outputs/${name}`, { dtype, shape: axes.map((axis) => axis.size ?? batch), data: outputs[name] }, step);
    }
    for (const [name, value] of Object.entries(model.state)) put(`states/${name}`, value, step);
  }
  model.reset(batch);
  for (const [name, value] of Object.entries(model.run(inputs))) written[`run/${name}`] = value;
  await writeFile(`${folder}/node.safetensors`, writeTensors(written));
  await writeFile(`${folder}/state.safetensors`, model.saveState());
  found[folder] = { ...checked, batch: model.batch };
}
console.log(JSON.stringify(found));
