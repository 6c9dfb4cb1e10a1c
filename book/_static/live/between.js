/**
 * Part two: from one seed to another, along the arc between their noises.
 * @module
 */
import { classPicker, h, range, seedField } from "./dom.js";
import { settings } from "./draw.js";
import { film, noiseOf } from "./film.js";
import { Part, named, soon } from "./part.js";
import { canvas, paint } from "./pictures.js";
import { slerp } from "./sampler.js";
import { figure } from "./stage.js";

const COUNT = 9;

export class Between extends Part {
  constructor(root, model) {
    super(root, model);
    const [, height, width] = model.facts.picture_shape;
    const again = soon(() => this.started && this.draw());
    this.started = false;
    this.picker = classPicker("Digit", model.facts.classes, 7, () => this.draw());
    this.from = seedField("First seed", 1, again);
    this.to = seedField("Second seed", 2, again);
    this.picture = canvas(width, height, "No picture yet");
    this.strip = Array.from({ length: COUNT }, () => canvas(width, height, "No picture yet"));
    this.slider = range("Way", {
      min: 0, max: COUNT - 1, step: 1, value: 0,
      say: (i) => `${Math.round((100 * i) / (COUNT - 1))} %`,
      input: (i) => this.show(i),
    });
    this.slider.slider.disabled = true;
    root.replaceChildren(
      h(
        "div",
        { class: "ldm-controls" },
        this.picker.element,
        this.from.element,
        this.to.element,
        h("div", { class: "ldm-buttons" }, h("button", { type: "button", class: "ldm-main", click: () => this.draw() }, "Draw the way")),
      ),
      h(
        "div",
        { class: "ldm-stage" },
        h("div", { class: "ldm-frames ldm-one" }, figure(this.picture, "Where the slider stands")),
        h("div", { class: "ldm-strip" }, ...this.strip),
        h("div", { class: "ldm-scrub" }, this.slider.element),
      ),
      this.status,
    );
    this.say("Guidance, steps and sampler are those of part one.");
  }

  draw() {
    this.started = true;
    const [label, { guidance, steps, sampler }] = [this.picker.value, settings];
    const [a, b] = [noiseOf(this.model, this.from.value), noiseOf(this.model, this.to.value)];
    const start = new Float32Array(COUNT * a.length);
    for (let i = 0; i < COUNT; i++) start.set(slerp(a, b, i / (COUNT - 1)), i * a.length);
    const labels = Array(COUNT).fill(label);
    const name = `${COUNT} pictures of ${named(this.model, label)}`;
    const wish = { labels, seed: this.from.value, steps, guidance, sampler, start, onlyLast: true };
    return this.run(() => film(this.model, wish), (frame) => this.fill(frame.picture), name);
  }

  /** @param {Float32Array} pictures all of them, one after another */
  fill(pictures) {
    const size = this.model.pictureSize;
    this.pictures = this.strip.map((_, i) => pictures.slice(i * size, (i + 1) * size));
    this.pictures.forEach((picture, i) => {
      paint(this.strip[i], picture);
      this.strip[i].setAttribute("aria-label", `Picture ${i + 1} of ${COUNT} on the way`);
    });
    this.slider.slider.disabled = false;
    this.show(this.slider.value);
  }

  show(index) {
    if (!this.pictures) return;
    paint(this.picture, this.pictures[index]);
    this.picture.setAttribute("aria-label", `Picture ${index + 1} of ${COUNT} on the way`);
    this.strip.forEach((tile, i) => tile.classList.toggle("ldm-here", i === index));
  }
}
