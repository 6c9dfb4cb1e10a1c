// Answers questions about the page's modules as JSON, for tests/book/test_live.py:
//   node sampler.mjs QUESTIONS.json ANSWERS.json [RUNTIME folder of onnxruntime-web]
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [questions, answers, runtime] = process.argv.slice(2);
const live = join(dirname(fileURLToPath(import.meta.url)), "../../book/_static/live");
const load = (name) => import(pathToFileURL(join(live, name)).href);
const [{ normal, mulberry32 }, sampler, { schedule }] = await Promise.all(
  ["rng.js", "sampler.js", "schedule.js"].map(load),
);
const { network, runs = [], draws = [], ways = [], curves = [], calls = [] } = JSON.parse(readFileSync(questions));

let ort = null;
const sessions = {};
/** One call of an exported network: {input: [type, numbers, shape]} -> numbers. */
async function call(name, inputs) {
  if (!ort) {
    const folder = resolve(runtime);
    ort = await import(pathToFileURL(join(folder, "ort.wasm.min.mjs")).href);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = `${folder}/`;
  }
  sessions[name] ??= await ort.InferenceSession.create(new Uint8Array(readFileSync(join(network, `${name}.onnx`))));
  const kinds = { float32: Float32Array, int32: Int32Array };
  const feeds = Object.entries(inputs).map(([input, [type, data, shape]]) =>
    [input, new ort.Tensor(type, kinds[type].from(data), shape)]);
  const outputs = await sessions[name].run(Object.fromEntries(feeds));
  return outputs[sessions[name].outputNames[0]].data;
}

/** The network of a run: the exported one, or a formula that the test knows too. */
function denoiser(shape) {
  const size = shape.reduce((a, b) => a * b);
  if (!network) {
    return async (x, t, labels) =>
      x.map((value, i) => Math.sin(3 * value + 2 * t + 0.3 * labels[Math.floor(i / size)]));
  }
  return (x, t, labels) =>
    call("denoiser", {
      x: ["float32", x, [labels.length, ...shape]],
      t: ["float32", labels.map(() => t), [labels.length]],
      label: ["int32", labels, [labels.length]],
    });
}

async function sampled(run) {
  const curve = schedule(run.schedule);
  const predict = sampler.predictor(
    denoiser(run.shape), curve, run.parametrisation, run.labels, run.guidance,
  );
  const fresh = (run.fresh ?? []).map((numbers) => Float32Array.from(numbers));
  const times = sampler.timeGrid(run.steps, run.first);
  const states = sampler.SAMPLERS[run.sampler](
    predict, Float32Array.from(run.noise), times, curve, { noise: () => fresh.shift() },
  );
  const all = [];
  for await (const { x, t, x0, evaluations } of states) {
    all.push({ x: [...x], t, x0: [...x0], evaluations });
  }
  return all;
}

const result = { runs: [], calls: [] };
for (const run of runs) result.runs.push(await sampled(run));
for (const [name, inputs] of calls) result.calls.push([...(await call(name, inputs))]);
result.draws = draws.map(({ seed, length, uniform }) => {
  const next = uniform ? mulberry32(seed) : null;
  return uniform ? Array.from({ length }, next) : [...normal(seed, length)];
});
result.ways = ways.map(({ a, b, u }) => [...sampler.slerp(Float32Array.from(a), Float32Array.from(b), u)]);
result.curves = curves.map(({ name, times }) => times.map(schedule(name)));
writeFileSync(answers, JSON.stringify(result));
