/**
 * From numbers to canvases, in one place: [-1, 1] becomes black to white.
 * @module
 */
import { h } from "./dom.js";

/**
 * A canvas of w x h pixels that the page enlarges without smoothing.
 * @param {number} width
 * @param {number} height
 * @param {string} label what it shows, for screen readers
 */
export function canvas(width, height, label) {
  return h("canvas", { width, height, role: "img", "aria-label": label, class: "ldm-pixels" });
}

/**
 * @param {HTMLCanvasElement} target
 * @param {ArrayLike<number>} values one channel, or three after one another, in [-1, 1]
 */
export function paint(target, values) {
  const { width, height } = target;
  const size = width * height;
  const channels = values.length / size;
  const image = new ImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      const value = values[(channels === 1 ? 0 : c) * size + i];
      image.data[4 * i + c] = Math.round((Math.min(1, Math.max(-1, value)) + 1) * 127.5);
    }
    image.data[4 * i + 3] = 255;
  }
  target.getContext("2d").putImageData(image, 0, 0);
}

/**
 * The channels of a latent as small grey tiles; 0 is middle grey, 3 standard deviations white.
 * @param {number[]} shape (c, h, w)
 */
export function latentTiles([channels, height, width]) {
  const tiles = Array.from({ length: channels }, (_, i) =>
    canvas(width, height, `Channel ${i + 1} of the latent`),
  );
  const size = height * width;
  return {
    element: h("div", { class: "ldm-tiles" }, ...tiles),
    /** @param {Float32Array} z */
    paint(z) {
      tiles.forEach((tile, c) => paint(tile, z.slice(c * size, (c + 1) * size).map((v) => v / 3)));
    },
  };
}
