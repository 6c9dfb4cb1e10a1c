/**
 * Normal noise that repeats: the same seed, the same numbers, in every browser.
 *
 * Uniform numbers come from mulberry32 (Tommy Ettinger's public-domain generator: a 32-bit counter
 * whose values are scrambled), normal ones from them by Box and Muller's transform. They are not
 * torch's numbers: seed 3 is another picture here than in the notebooks.
 * @module
 */

/**
 * @param {number} seed any whole number
 * @returns {() => number} uniform numbers in [0, 1)
 */
export function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Spread neighbouring seeds over all counters (the finaliser of MurmurHash3, public domain), so
 * that the streams of seeds 1 and 2 have nothing in common.
 * @param {number} seed
 * @returns {number} a whole number in [0, 2^32)
 */
export function scattered(seed) {
  let h = seed >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * Standard normal numbers (Box and Muller 1958: two uniforms make two normals).
 * @param {number} seed
 * @param {number} length how many
 * @returns {Float32Array}
 */
export function normal(seed, length) {
  const uniform = mulberry32(scattered(seed));
  const numbers = new Float32Array(length);
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    numbers[i] = radius * Math.cos(angle);
    if (i + 1 < length) numbers[i + 1] = radius * Math.sin(angle);
  }
  return numbers;
}
