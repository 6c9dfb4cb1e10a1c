/**
 * Part three: image-to-image. A scribble is encoded, noised up to a level, and denoised from there
 * (arXiv 2108.01073).
 * @module
 */
import { classPicker, h, range, seedField } from "./dom.js";
import { settings } from "./draw.js";
import { film, noiseOf } from "./film.js";
import { Pad } from "./pad.js";
import { Part, named, soon } from "./part.js";
import { normal } from "./rng.js";
import { addNoise } from "./sampler.js";
import { schedule } from "./schedule.js";
import { Stage, figure } from "./stage.js";

export class Scribble extends Part {
  constructor(root, model) {
    super(root, model);
    const [, height, width] = model.facts.picture_shape;
    const again = soon(() => this.started && this.draw());
    this.started = false;
    this.pad = new Pad(width, height, again);
    this.stage = new Stage(model.facts, "Decoded");
    this.picker = classPicker("Make it", model.facts.classes, -1, () => this.draw());
    this.strength = range("Strength", {
      min: 0, max: 1, step: 0.05, value: 0.6, say: (v) => v.toFixed(2), change: again,
    });
    this.seed = seedField("Seed", 1, again);
    const button = (text, click, look) => h("button", { type: "button", class: look, click }, text);
    root.replaceChildren(
      h(
        "div",
        { class: "ldm-controls ldm-with-pad" },
        figure(this.pad.element, "Draw here, roughly"),
        h(
          "div",
          {},
          h(
            "div",
            { class: "ldm-buttons" },
            button("Denoise from here", () => this.draw(), "ldm-main"),
            button("Clear", () => this.clear()),
            button("Take the digit of part one", () => this.take()),
          ),
          this.strength.element,
          this.seed.element,
          this.picker.element,
        ),
      ),
      this.stage.element,
      this.status,
    );
    this.say("Draw something, then denoise from here. Strength 0 gives it back, 1 forgets it.");
  }

  clear() {
    this.pad.clear();
    this.started = false;
    this.say("The pad is empty.");
  }

  take() {
    if (!settings.picture) return this.say("Part one has no digit yet: draw one there first.");
    this.pad.set(settings.picture);
    return this.draw();
  }

  draw() {
    if (this.pad.empty) return this.say("The pad is empty: draw something first.");
    this.started = true;
    const [strength, label, seed] = [this.strength.value, this.picker.value, this.seed.value];
    const name = label < 0 ? "from your scribble" : `${named(this.model, label)} from your scribble`;
    this.stage.clear(strength ? settings.steps : 0, name);
    const wish = { labels: [label], seed, ...settings };
    const make = () => imageToImage(this.model, this.pad.values, strength, wish);
    return this.run(make, (frame) => this.stage.add(frame), name);
  }
}

/**
 * Noise is added up to t = strength, the first level that is then removed: strength 0 returns the
 * picture itself, 1 is plain generation with this seed.
 * @param {import("./model.js").Model} model
 * @param {Float32Array} picture in [-1, 1]
 * @param {number} strength in [0, 1]
 * @param {import("./film.js").Wish} wish
 * @returns {AsyncGenerator<import("./film.js").Frame>}
 */
export async function* imageToImage(model, picture, strength, wish) {
  const z = await model.encode(picture);
  if (strength === 0) {
    yield { z, t: 0, picture: Float32Array.from(picture), guess: undefined, evaluations: 0 };
    return;
  }
  const eps = normal(wish.seed, model.latentSize);
  const noised = () => addNoise(z, eps, strength, schedule(model.facts.schedule));
  const start = strength < 1 ? noised() : noiseOf(model, wish.seed);
  yield* film(model, { ...wish, start, first: strength });
}
