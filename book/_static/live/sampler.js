/**
 * Samplers: from noise to latents, step by step. The same few lines as `ldmlib.diffusion.guidance`, and a
 * test holds the two equal on the same noise and the same network.
 *
 * Nothing here knows a page, a picture or a runtime. n latents are one Float32Array, one after
 * another; the network is any function that follows the library's contract.
 * @module
 */
import { PARAMETRISATIONS } from "./schedule.js";

/** @typedef {import("./schedule.js").Schedule} Schedule */
/** @typedef {{x0: Float32Array, eps: Float32Array}} Prediction */
/** @typedef {(x: Float32Array, t: number) => Promise<Prediction>} Predict */
/**
 * The network: n latents, one time for all of them, n class labels (-1: the null class).
 * @typedef {(x: Float32Array, t: number, labels: number[]) => Promise<Float32Array>} Denoise
 */
/**
 * What a sampler yields after each step: x at time t, the x0 it aimed at, and how often the
 * network was asked so far.
 * @typedef {{x: Float32Array, t: number, x0: Float32Array, evaluations: number}} State
 */

/**
 * steps + 1 times from `first` down to 0 at equal distances.
 * @param {number} steps
 * @param {number} [first]
 * @returns {number[]}
 */
export function timeGrid(steps, first = 1) {
  if (!(steps >= 1)) throw new Error(`sampling needs at least 1 step, not ${steps}`);
  return Array.from({ length: steps + 1 }, (_, i) => (first * (steps - i)) / steps);
}

/**
 * Bind network, labels and classifier-free guidance (arXiv 2207.12598) into predict(x, t).
 *
 * The output is without + guidance * (with - without): 0 draws anything, 1 is the conditional
 * model, above 1 overshoots towards the class.
 * @param {Denoise} denoise
 * @param {Schedule} schedule
 * @param {string} parametrisation eps, x0, v or flow
 * @param {number[]} labels one for each latent
 * @param {number} [guidance]
 * @returns {Predict}
 */
export function predictor(denoise, schedule, parametrisation, labels, guidance = 1) {
  const solve = PARAMETRISATIONS[parametrisation];
  if (!solve) throw new Error(`unknown parametrisation ${parametrisation}`);
  const none = labels.map(() => -1);

  async function guided(x, t) {
    if (guidance === 1) return denoise(x, t, labels);
    if (guidance === 0) return denoise(x, t, none);
    const twice = new Float32Array(2 * x.length);
    twice.set(x);
    twice.set(x, x.length);
    const both = await denoise(twice, t, [...labels, ...none]);
    return x.map((_, i) => both[x.length + i] + guidance * (both[i] - both[x.length + i]));
  }

  return async (x, t) => {
    const [output, [alpha, sigma]] = [await guided(x, t), schedule(t)];
    const x0 = new Float32Array(x.length);
    const eps = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      [x0[i], eps[i]] = solve(output[i], x[i], alpha, sigma);
    }
    return { x0, eps };
  };
}

/**
 * Noise the clean latents up to time t in one jump: alpha z + sigma eps.
 * @param {Float32Array} z
 * @param {Float32Array} eps
 * @param {number} t
 * @param {Schedule} schedule
 * @returns {Float32Array}
 */
export function addNoise(z, eps, t, schedule) {
  const [alpha, sigma] = schedule(t);
  return z.map((value, i) => alpha * value + sigma * eps[i]);
}

/**
 * The noise that sampling starts from: of the variance that data of variance 1 have at t = 1.
 * @param {Float32Array} eps
 * @param {Schedule} schedule
 * @returns {Float32Array}
 */
export function initialNoise(eps, schedule) {
  const [alpha, sigma] = schedule(1);
  const scale = Math.sqrt(alpha ** 2 + sigma ** 2);
  return eps.map((value) => value * scale);
}

/**
 * DDIM (arXiv 2010.02502, equations 12 and 16): eta = 0 adds no noise, eta = 1 is DDPM.
 * @param {Predict} predict
 * @param {Float32Array} x
 * @param {number[]} times from high to low
 * @param {Schedule} schedule
 * @param {{eta?: number, noise?: (length: number) => Float32Array}} [options]
 * @returns {AsyncGenerator<State>}
 */
export async function* ddim(predict, x, times, schedule, { eta = 0, noise } = {}) {
  for (let i = 0; i + 1 < times.length; i++) {
    const [t, s] = [times[i], times[i + 1]];
    const { x0, eps } = await predict(x, t);
    const tau = eta * posteriorStd(schedule, s, t);
    const [alpha, sigma] = schedule(s);
    const rest = Math.sqrt(Math.max(sigma ** 2 - tau ** 2, 0));
    const fresh = tau > 0 ? noise(x.length) : null;
    x = x0.map((value, k) => alpha * value + rest * eps[k] + (fresh ? tau * fresh[k] : 0));
    yield { x, t: s, x0, evaluations: i + 1 };
  }
}

/** Ancestral sampling (arXiv 2006.11239, algorithm 2): DDIM with eta = 1. */
export function ddpm(predict, x, times, schedule, options = {}) {
  return ddim(predict, x, times, schedule, { ...options, eta: 1 });
}

/** Standard deviation of q(x_s | x_t, x_0), s < t (arXiv 2006.11239, equation 7). */
function posteriorStd(schedule, s, t) {
  const [[alphaS, sigmaS], [alphaT, sigmaT]] = [schedule(s), schedule(t)];
  const added = sigmaT ** 2 - (alphaT / alphaS) ** 2 * sigmaS ** 2;
  return (sigmaS * Math.sqrt(Math.max(added, 0))) / sigmaT;
}

/**
 * Euler steps along the flow (arXiv 2210.02747), in the straight-line coordinates
 * y = x / (alpha + sigma), r = sigma / (alpha + sigma), where dy/dr = eps - x0.
 * @returns {AsyncGenerator<State>}
 */
export async function* euler(predict, x, times, schedule) {
  for (let i = 0; i + 1 < times.length; i++) {
    const [t, s] = [times[i], times[i + 1]];
    const { x0, eps } = await predict(x, t);
    x = stepped(x, eps.map((value, k) => value - x0[k]), schedule, t, s);
    yield { x, t: s, x0, evaluations: i + 1 };
  }
}

/**
 * Heun's second-order steps along the flow (after arXiv 2206.00364, algorithm 1): an Euler step,
 * a second look at its end, then the mean of both slopes. The last step is Euler's, so that n
 * steps cost 2 n - 1 evaluations.
 * @returns {AsyncGenerator<State>}
 */
export async function* heun(predict, x, times, schedule) {
  let evaluations = 0;
  for (let i = 0; i + 1 < times.length; i++) {
    const [t, s] = [times[i], times[i + 1]];
    let { x0, eps } = await predict(x, t);
    let slope = eps.map((value, k) => value - x0[k]);
    let end = stepped(x, slope, schedule, t, s);
    evaluations += 1;
    if (s > 0) {
      ({ x0, eps } = await predict(end, s));
      slope = slope.map((value, k) => (value + eps[k] - x0[k]) / 2);
      end = stepped(x, slope, schedule, t, s);
      evaluations += 1;
    }
    x = end;
    yield { x, t: s, x0, evaluations };
  }
}

/** One step along a slope, from time t to time s. */
function stepped(x, slope, schedule, t, s) {
  const [[alphaT, sigmaT], [alphaS, sigmaS]] = [schedule(t), schedule(s)];
  const [scaleT, scaleS] = [alphaT + sigmaT, alphaS + sigmaS];
  const distance = sigmaS / scaleS - sigmaT / scaleT;
  return x.map((value, k) => scaleS * (value / scaleT + distance * slope[k]));
}

/** By the library's names. */
export const SAMPLERS = { heun, euler, ddim, ddpm };

/**
 * Between two noises on the arc through both: straight lines would pass through noise of too
 * small a variance, which the network has never seen.
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} u 0 gives a, 1 gives b
 * @returns {Float32Array}
 */
export function slerp(a, b, u) {
  const dot = (p, q) => p.reduce((sum, value, i) => sum + value * q[i], 0);
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  const straight = !(sine > 1e-6);
  const wa = straight ? 1 - u : Math.sin((1 - u) * angle) / sine;
  const wb = straight ? u : Math.sin(u * angle) / sine;
  return a.map((value, i) => wa * value + wb * b[i]);
}
