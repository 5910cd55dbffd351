// Load an ONNX file with onnxruntime-web in Node and run it: part of where_files_run.py.
//
//     node load_elsewhere.mjs FILE.onnx INPUTS.json OUTPUTS.json
//
// Inputs and outputs are {name: {type, dims, data}}, in the order of the file.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";

// The package lies in the working directory, this file elsewhere.
const require = createRequire(pathToFileURL(`${process.cwd()}/`));
const found = require.resolve("onnxruntime-web");
const ort = await import(pathToFileURL(found));
const { InferenceSession, Tensor, env } = ort.default ?? ort;
env.wasm.numThreads = 1;
env.wasm.wasmPaths = `${pathToFileURL(dirname(found))}/`;

const [file, given, made] = process.argv.slice(2);
const inputs = JSON.parse(readFileSync(given, "utf8"));
const arrays = { float32: Float32Array, uint8: Uint8Array };
const feeds = Object.fromEntries(
  Object.entries(inputs).map(([name, { type, dims, data }]) => [
    name,
    new Tensor(type, arrays[type].from(data), dims),
  ]),
);
const session = await InferenceSession.create(new Uint8Array(readFileSync(file)), {
  executionProviders: ["wasm"],
});
const outputs = await session.run(feeds);
const said = session.outputNames.map((name) => [
  name,
  { type: outputs[name].type, dims: outputs[name].dims, data: Array.from(outputs[name].data) },
]);
writeFileSync(made, JSON.stringify(Object.fromEntries(said)));
