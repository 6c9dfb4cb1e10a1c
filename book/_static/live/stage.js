/**
 * The stage: one frame of a film at a time (latent, picture, guess), and a slider through them.
 * @module
 */
import { h, range } from "./dom.js";
import { canvas, latentTiles, paint } from "./pictures.js";

/** @typedef {import("./film.js").Frame} Frame */

export class Stage {
  /** @param {import("./model.js").Facts} facts @param {string} caption of the picture */
  constructor(facts, caption) {
    const [, height, width] = facts.picture_shape;
    const [c, lh, lw] = facts.latent_shape;
    this.tiles = latentTiles(facts.latent_shape);
    this.picture = canvas(width, height, "No picture yet");
    this.guess = canvas(width, height, "No guess yet");
    this.slider = range("Step", {
      min: 0, max: 0, step: 1, value: 0,
      say: (i) => this.describe(i),
      input: (i) => (this.stop(), this.show(i)),
    });
    this.play = h("button", { type: "button", click: () => this.replay(), disabled: true }, "Play");
    this.element = h(
      "div",
      { class: "ldm-stage" },
      h(
        "div",
        { class: "ldm-frames" },
        figure(this.tiles.element, `Latent, ${c} × ${lh} × ${lw}`),
        figure(this.picture, caption),
        figure(this.guess, "Guess of the end"),
      ),
      h("div", { class: "ldm-scrub" }, this.slider.element, this.play),
    );
    this.frames = /** @type {Frame[]} */ ([]);
    this.name = "";
    this.slider.slider.disabled = true;
  }

  /** Empty the stage for a film of so many steps. @param {number} steps @param {string} name */
  clear(steps, name) {
    this.stop();
    this.frames = [];
    this.name = name;
    this.slider.slider.max = String(steps);
    this.slider.slider.disabled = this.play.disabled = true;
    this.slider.set(0);
  }

  /** Show only noise, before any network has run. @param {Float32Array} z */
  preview(z) {
    if (!this.frames.length) this.tiles.paint(z);
  }

  /** @param {Frame} frame the newest */
  add(frame) {
    this.frames.push(frame);
    this.slider.slider.disabled = this.play.disabled = this.frames.length < 2;
    this.show(this.frames.length - 1);
  }

  /** @param {number} index */
  show(index) {
    const frame = this.frames[Math.min(index, this.frames.length - 1)];
    if (!frame) return;
    this.slider.set(this.frames.indexOf(frame));
    this.tiles.paint(frame.z);
    paint(this.picture, frame.picture);
    paint(this.guess, frame.guess ?? new Float32Array(frame.picture.length).fill(-1));
    const where = this.describe(this.slider.value);
    this.picture.setAttribute("aria-label", `${this.name}, decoded at ${where}`);
    const guess = frame.guess ? `${this.name}, as the network expects it to end, at ${where}` : "No guess yet";
    this.guess.setAttribute("aria-label", guess);
  }

  describe(index) {
    const frame = this.frames?.[index];
    return frame ? `${index} of ${this.slider.slider.max}, t = ${frame.t.toFixed(2)}` : "–";
  }

  /** Run through the frames once, in about two seconds. */
  replay() {
    this.stop();
    let index = 0;
    const pause = Math.min(400, 2000 / this.frames.length);
    const next = () => {
      this.show(index++);
      this.timer = index < this.frames.length ? setTimeout(next, pause) : 0;
    };
    next();
  }

  stop() {
    clearTimeout(this.timer);
  }
}

/** @param {HTMLElement} content @param {string} caption */
export function figure(content, caption) {
  return h("figure", { class: "ldm-figure" }, content, h("figcaption", {}, caption));
}
