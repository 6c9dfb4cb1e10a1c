/**
 * A film of denoising: the sampler's states with their decoded pictures.
 * @module
 */
import { normal } from "./rng.js";
import { SAMPLERS, initialNoise, predictor, timeGrid } from "./sampler.js";
import { schedule } from "./schedule.js";

/**
 * @typedef {object} Frame
 * @property {Float32Array} z the latents at time t
 * @property {number} t
 * @property {Float32Array} picture z decoded
 * @property {Float32Array} [guess] the end that the network expected, decoded
 * @property {number} evaluations of the network so far
 */
/**
 * @typedef {object} Wish
 * @property {number[]} labels one for each picture; -1 leaves it open
 * @property {number} seed
 * @property {number} steps
 * @property {number} guidance
 * @property {string} [sampler]
 * @property {Float32Array} [start] latents to start from instead of the seed's noise
 * @property {number} [first] the noise time of `start`, 1 when left out
 * @property {boolean} [onlyLast] decode nothing but the end
 */

/** The noise of a seed, for one latent. @param {import("./model.js").Model} model */
export function noiseOf(model, seed) {
  return initialNoise(normal(seed, model.latentSize), schedule(model.facts.schedule));
}

/** Let the page answer and repaint. */
const breathe = () => globalThis.scheduler?.yield?.() ?? new Promise((done) => setTimeout(done));

/**
 * @param {import("./model.js").Model} model
 * @param {Wish} wish
 * @returns {AsyncGenerator<Frame>} the start, then one frame a step
 */
export async function* film(model, wish) {
  const { facts } = model;
  const curves = schedule(facts.schedule);
  const times = timeGrid(wish.steps, wish.first ?? 1);
  const start = wish.start ?? noiseOf(model, wish.seed);
  const predict = predictor(
    model.denoise, curves, facts.parametrisation, wish.labels, wish.guidance,
  );
  let draws = 0;
  const noise = (length) => normal(wish.seed + 0x9e3779b9 * ++draws, length);
  const run = SAMPLERS[wish.sampler ?? facts.sampler](predict, start, times, curves, { noise });

  if (!wish.onlyLast) {
    yield { z: start, t: times[0], picture: await model.decode(start), evaluations: 0 };
  }
  for await (const { x, t, x0, evaluations } of run) {
    await breathe();
    if (wish.onlyLast && t > 0) continue;
    const both = new Float32Array(2 * x.length);
    both.set(x);
    both.set(x0, x.length);
    const pictures = await model.decode(both);
    const half = pictures.length / 2;
    const [picture, guess] = [pictures.slice(0, half), pictures.slice(half)];
    yield { z: x, t, picture, guess, evaluations };
  }
}
