/**
 * The small one, for the first page: press a digit, see it appear.
 * @module
 */
import { h } from "./dom.js";
import { film } from "./film.js";
import { Part, named } from "./part.js";
import { canvas, paint } from "./pictures.js";

const GUIDANCE = 1.5;

export class Embed extends Part {
  constructor(root, model) {
    super(root, model);
    const [, height, width] = model.facts.picture_shape;
    this.picture = canvas(width, height, "No picture yet");
    paint(this.picture, new Float32Array(width * height).fill(-1));
    const keys = model.facts.classes.map((name, label) =>
      h("button", { type: "button", "aria-label": `Generate ${named(model, label)}`, click: () => this.draw(label) }, name),
    );
    root.classList.add("ldm-embed");
    root.replaceChildren(
      this.picture,
      h("div", {}, h("p", {}, "Press to generate a digit, here in your browser:"), h("div", { class: "ldm-buttons" }, ...keys), this.status),
    );
    this.say(`The first press loads the model, ${model.megabytes.toFixed(1)} MB.`);
  }

  draw(label) {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const name = named(this.model, label);
    this.root.dataset.label = String(label);
    const wish = { labels: [label], seed, steps: this.model.facts.steps, guidance: GUIDANCE };
    return this.run(
      () => film(this.model, wish),
      (frame) => {
        paint(this.picture, frame.guess ?? frame.picture);
        this.picture.setAttribute("aria-label", `${name}, generated`);
      },
      name,
    );
  }
}
