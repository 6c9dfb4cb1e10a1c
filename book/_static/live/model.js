/**
 * The trained networks, run by onnxruntime-web in WebAssembly. Everything comes from this site;
 * nothing is loaded before a digit is asked for.
 * @module
 */
const HERE = new URL("./", import.meta.url);
const RUNTIME = new URL("../vendor/onnxruntime-web/", import.meta.url);
const RUNTIME_MEGABYTES = 3.7; // gzipped

/** Whether this browser can run the model at all. */
export function supported() {
  return typeof WebAssembly === "object" && typeof WebAssembly.instantiate === "function";
}

/**
 * @typedef {object} Facts what `ldmlib.export.onnx` writes to model.json
 * @property {number[]} latent_shape
 * @property {number[]} picture_shape
 * @property {string[]} classes
 * @property {string} schedule
 * @property {string} parametrisation
 * @property {string} sampler
 * @property {number} steps
 * @property {Record<string, string>} files
 * @property {Record<string, number>} gzipped_bytes
 */

/** The model: its facts at once, its networks when they are first needed. */
export class Model {
  /**
   * @param {Facts} facts
   * @param {URL} folder
   */
  constructor(facts, folder) {
    this.facts = facts;
    this.folder = folder;
    this.latentSize = facts.latent_shape.reduce((a, b) => a * b);
    this.pictureSize = facts.picture_shape.reduce((a, b) => a * b);
    /** @type {Record<string, Promise<any>>} */
    this.sessions = {};
    this.queue = Promise.resolve();
  }

  /**
   * @param {URL} [folder] of model.json and the .onnx files
   * @returns {Promise<Model>}
   */
  static async open(folder = new URL("model/", HERE)) {
    const answer = await fetch(new URL("model.json", folder));
    if (!answer.ok) {
      throw new Error("the exported model is missing from this site; `make book` makes it");
    }
    return new Model(await answer.json(), folder);
  }

  /** What the whole download comes to, in MB, compressed as servers send it. */
  get megabytes() {
    const bytes = Object.values(this.facts.gzipped_bytes).reduce((a, b) => a + b);
    return RUNTIME_MEGABYTES + bytes / 1e6;
  }

  /** Fetch and prepare everything: the runtime and the networks. Later no network is needed. */
  async load() {
    await Promise.all(Object.keys(this.facts.files).map((name) => this.session(name)));
  }

  /** @param {string} name denoiser, decoder or encoder */
  session(name) {
    this.sessions[name] ??= this.start(name).catch((error) => {
      delete this.sessions[name]; // so that another try is possible
      throw error;
    });
    return this.sessions[name];
  }

  async start(name) {
    const [ort, answer] = await Promise.all([
      runtime(),
      fetch(new URL(this.facts.files[name], this.folder)),
    ]);
    if (!answer.ok) throw new Error(`the ${name} could not be loaded (${answer.status})`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return this.inTurn(() => ort.InferenceSession.create(bytes));
  }

  /** The runtime does one thing at a time: queue what is asked of it. */
  inTurn(task) {
    const result = this.queue.then(task);
    this.queue = result.catch(() => {});
    return result;
  }

  async run(name, inputs) {
    const [session, ort] = [await this.session(name), await runtime()];
    const feeds = {};
    for (const [input, [type, data, shape]] of Object.entries(inputs)) {
      feeds[input] = new ort.Tensor(type, data, shape);
    }
    const outputs = await this.inTurn(() => session.run(feeds));
    return outputs[session.outputNames[0]].data;
  }

  /**
   * The library's contract: denoiser(x_t, t, cond).
   * @type {import("./sampler.js").Denoise}
   */
  denoise = (x, t, labels) =>
    this.run("denoiser", {
      x: ["float32", x, [labels.length, ...this.facts.latent_shape]],
      t: ["float32", new Float32Array(labels.length).fill(t), [labels.length]],
      label: ["int32", Int32Array.from(labels), [labels.length]],
    });

  /** Pictures in [-1, 1] of n scaled latents. @param {Float32Array} z */
  decode(z) {
    return this.run("decoder", {
      z: ["float32", z, [z.length / this.latentSize, ...this.facts.latent_shape]],
    });
  }

  /** Scaled latents of n pictures in [-1, 1]. @param {Float32Array} x */
  encode(x) {
    return this.run("encoder", {
      x: ["float32", x, [x.length / this.pictureSize, ...this.facts.picture_shape]],
    });
  }
}

let loading = null;

/** onnxruntime-web, on one thread: several need headers that static hosts do not send. */
function runtime() {
  loading ??= import(new URL("ort.wasm.min.mjs", RUNTIME).href).then(
    (ort) => {
      ort.env.wasm.numThreads = 1;
      ort.env.wasm.wasmPaths = RUNTIME.href;
      ort.env.logLevel = "error";
      return ort;
    },
    () => {
      loading = null;
      throw new Error("this site was built without npm, and lacks the runtime of the model");
    },
  );
  return loading;
}
