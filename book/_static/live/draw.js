/**
 * Part one: a digit from noise, with everything that can be chosen.
 * @module
 */
import { choice, classPicker, h, range, seedField } from "./dom.js";
import { film, noiseOf } from "./film.js";
import { Part, named, soon } from "./part.js";
import { Stage } from "./stage.js";

const SAMPLER_NAMES = {
  heun: "Heun",
  euler: "Euler, which is DDIM",
  ddpm: "DDPM, adds noise",
};
/** What the other parts use too. */
export const settings = { guidance: 1.5, steps: 5, sampler: "heun", picture: null };

export class Draw extends Part {
  constructor(root, model) {
    super(root, model);
    const { classes, steps, sampler } = model.facts;
    const again = soon(() => this.settle());
    settings.steps = steps;
    this.stage = new Stage(model.facts, "Decoded");
    this.picker = classPicker("Digit", classes, 3, () => this.draw());
    this.guidance = range("Guidance", {
      min: 0, max: 5, step: 0.25, value: settings.guidance, say: (v) => v.toFixed(2), change: again,
    });
    this.steps = range("Steps", { min: 1, max: 50, step: 1, value: steps, change: again });
    this.seed = seedField("Seed", 1, again);
    this.sampler = choice("Sampler", SAMPLER_NAMES, sampler, again);
    root.replaceChildren(
      h(
        "div",
        { class: "ldm-controls" },
        this.picker.element,
        this.guidance.element,
        this.steps.element,
        this.seed.element,
        this.sampler.element,
        h("div", { class: "ldm-buttons" }, h("button", { type: "button", class: "ldm-main", click: () => this.draw() }, "Draw")),
      ),
      this.stage.element,
      this.status,
    );
    this.started = false;
    this.stage.preview(noiseOf(model, this.seed.value));
    this.say(`Press a digit. The model, ${model.megabytes.toFixed(1)} MB, is then loaded once.`);
  }

  /** A setting has changed: draw anew, or show the new noise as long as nothing was drawn. */
  settle() {
    settings.guidance = this.guidance.value;
    settings.steps = this.steps.value;
    settings.sampler = this.sampler.value;
    if (this.started) this.draw();
    else this.stage.preview(noiseOf(this.model, this.seed.value));
  }

  draw() {
    this.started = true;
    const [label, seed, steps] = [this.picker.value, this.seed.value, this.steps.value];
    const [guidance, sampler] = [this.guidance.value, this.sampler.value];
    const name = `${named(this.model, label)}, seed ${seed}`;
    this.stage.clear(steps, name);
    this.root.dataset.label = String(label);
    return this.run(
      () => film(this.model, { labels: [label], seed, steps, guidance, sampler }),
      (frame) => {
        this.stage.add(frame);
        settings.picture = frame.picture;
      },
      name,
    );
  }
}
