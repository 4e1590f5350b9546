// Check bundles with onnxruntime-node, and run the recordings in FOLDER/NAME.safetensors: node onnxruntime.mjs FOLDER BUNDLE...
import * as ort from "../../../serve/web/node_modules/onnxruntime-node/dist/index.js";
import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { readTensors, writeTensors } from "../../../serve/web/deploy-snn.js";
import { open } from "../../../serve/web/onnxruntime-host.js";

const [folder, ...bundles] = process.argv.slice(2);
const found = {};
for (const bundle of bundles) {
  const name = basename(bundle);
  try {
    const model = await open(ort, bundle, { intraOpNumThreads: 1 });
    found[name] = await model.check();
    const inputs = readTensors(await readFile(`${folder}/${name}.safetensors`));
    await model.reset(Object.values(inputs)[0].shape[1]);
    const starts = Object.entries(model.state).map(([key, value]) => [`start/${key}`, value]);
    const outputs = Object.entries(await model.run(inputs)).map(([key, value]) => [`outputs/${key}`, value]);
    const states = Object.entries(model.state).map(([key, value]) => [`last/${key}`, value]);
    await writeFile(`${folder}/${name}-node.safetensors`, writeTensors(Object.fromEntries([...starts, ...outputs, ...states])));
  } catch (error) {
    found[name] = `${error.name}: ${error.message}`;
  }
}
console.log(JSON.stringify(found));
