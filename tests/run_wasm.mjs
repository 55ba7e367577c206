// Calls the function exported as "run" of a WebAssembly object: node run_wasm.mjs OBJECT PLAN.json INPUTS OUTPUTS
// PLAN: { weights, arena, inputs: [bytes], outputs: [bytes] } in bytes; INPUTS holds the weights, then the inputs.
import { readFileSync, writeFileSync } from "node:fs";

const [object, planFile, inputFile, outputFile] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(planFile));
const memory = new WebAssembly.Memory({ initial: 256 });
const env = {
  __linear_memory: memory,
  __stack_pointer: new WebAssembly.Global({ value: "i32", mutable: true }, 1 << 20),
  __indirect_function_table: new WebAssembly.Table({ element: "anyfunc", initial: 16 }),
};
const { instance } = await WebAssembly.instantiate(readFileSync(object), { env });

let free = 1 << 20;
const place = (bytes) => ((free = (free + 63) & ~63), (free += bytes), free - bytes);
const data = readFileSync(inputFile);
let read = 0;
const fill = (bytes) => {
  const at = place(bytes);
  new Uint8Array(memory.buffer).set(data.subarray(read, (read += bytes)), at);
  return at;
};
const table = (addresses) => {
  const at = place(4 * addresses.length);
  new Uint32Array(memory.buffer, at, addresses.length).set(addresses);
  return at;
};
const weights = fill(plan.weights);
const inputs = plan.inputs.map(fill);
const outputs = plan.outputs.map(place);
const status = instance.exports.run(weights, place(plan.arena), table(inputs), table(outputs));
const results = outputs.map((at, i) => Buffer.from(memory.buffer.slice(at, at + plan.outputs[i])));
writeFileSync(outputFile, Buffer.concat(results));
process.exit(status);
