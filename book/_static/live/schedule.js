/**
 * Noise schedules and what a network's output means: `ldmlib.diffusion.schedule` and
 * `ldmlib.diffusion.process.Parametrisation`, in the same letters.
 *
 * x_t = alpha(t) x_0 + sigma(t) eps, with t from 0 (clean) to 1 (noise).
 * @module
 */

/** @typedef {(t: number) => [number, number]} Schedule t -> [alpha, sigma] */

const STEPS = 1000; // the papers' tables have so many; the curve through them is the schedule

/** The variances that each step of the papers' tables adds, at position u in [0, 1] of the table. */
const BETAS = {
  linear: (i) => 1e-4 + (0.02 - 1e-4) * (i / (STEPS - 1)),
  scaled_linear: (i) =>
    (Math.sqrt(0.00085) + (Math.sqrt(0.012) - Math.sqrt(0.00085)) * (i / (STEPS - 1))) ** 2,
  cosine: (i) => {
    const abar = (t) => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
    return Math.min(1 - abar((i + 1) / STEPS) / abar(i / STEPS), 0.999);
  },
};

/**
 * @param {string} name flow, cosine, linear or scaled_linear
 * @returns {Schedule}
 */
export function schedule(name) {
  if (name === "flow") return (t) => [1 - t, t];
  if (!(name in BETAS)) throw new Error(`unknown schedule ${name}`);
  const logAbar = new Float64Array(STEPS + 1);
  for (let i = 0; i < STEPS; i++) logAbar[i + 1] = logAbar[i] + Math.log1p(-BETAS[name](i));
  return (t) => {
    const left = Math.min(Math.floor(t * STEPS), STEPS - 1);
    const value = logAbar[left] + (logAbar[left + 1] - logAbar[left]) * (t * STEPS - left);
    return [Math.exp(value / 2), Math.sqrt(-Math.expm1(value))];
  };
}

/**
 * How to solve x = alpha x0 + sigma eps together with the network's output y, number by number:
 * [x0, eps].
 * @type {Record<string, (y: number, x: number, alpha: number, sigma: number) => [number, number]>}
 */
export const PARAMETRISATIONS = {
  eps: (y, x, alpha, sigma) => [(x - sigma * y) / alpha, y],
  x0: (y, x, alpha, sigma) => [y, sigma > 0 ? (x - alpha * y) / sigma : 0],
  v: (y, x, alpha, sigma) => {
    const scale = alpha ** 2 + sigma ** 2;
    return [(alpha * x - sigma * y) / scale, (sigma * x + alpha * y) / scale];
  },
  flow: (y, x, alpha, sigma) => {
    const scale = alpha + sigma;
    return [(x - sigma * y) / scale, (x + alpha * y) / scale];
  },
};
