/**
 * What every part of the page shares: one model for all, news about it, and only the newest wish.
 * @module
 */
import { statusLine } from "./dom.js";
import { Model } from "./model.js";

/** @type {Promise<Model> | null} */
let opened = null;

/** The model that all parts of the page share. */
export function sharedModel() {
  opened ??= Model.open();
  return opened;
}

/** The wish that is worked on; a newer one, from any part, ends it at its next step. */
let newest = 0;
let loaded = false;

export class Part {
  /** @param {HTMLElement} root @param {Model} model */
  constructor(root, model) {
    this.root = root;
    this.model = model;
    this.status = statusLine();
  }

  say(text) {
    this.status.textContent = text;
  }

  /**
   * Load the model, then go through a film; tells about it, and stops if a newer wish comes.
   * @param {() => AsyncGenerator<import("./film.js").Frame>} makeFilm
   * @param {(frame: import("./film.js").Frame) => void} each
   * @param {string} name of what is drawn, for the news
   */
  async run(makeFilm, each, name) {
    const mine = ++newest;
    this.root.dataset.state = "busy";
    this.root.setAttribute("aria-busy", "true");
    try {
      if (!loaded) this.say(`Loading the model, ${this.model.megabytes.toFixed(1)} MB, once …`);
      await this.model.load();
      loaded = true;
      if (mine !== newest) return;
      this.say(`Drawing ${name} …`);
      const start = performance.now();
      let frame = null;
      for await (frame of makeFilm()) {
        if (mine !== newest) return;
        each(frame);
      }
      const seconds = (performance.now() - start) / 1000;
      this.root.dataset.seconds = seconds.toFixed(3);
      this.say(
        `Drawn: ${name}, in ${seconds.toFixed(1)} s; the network was asked ` +
          `${frame.evaluations} time${frame.evaluations === 1 ? "" : "s"}.`,
      );
    } catch (error) {
      if (mine === newest) this.fail(error);
    } finally {
      if (this.root.dataset.state === "busy") {
        this.root.dataset.state = mine === newest ? "ready" : "stopped";
      }
      this.root.removeAttribute("aria-busy");
    }
  }

  fail(error) {
    this.root.dataset.state = "failed";
    this.say(`That did not work: ${error.message ?? error}.`);
  }
}

/** "a 3", or "any digit" for label -1. @param {Model} model @param {number} label */
export function named(model, label) {
  if (label < 0) return "any class";
  const name = model.facts.classes[label];
  return `${/^(8|[aeiou])/i.test(name) ? "an" : "a"} ${name}`;
}

/** Say it once for all that changes within a moment. @param {() => void} task */
export function soon(task, wait = 200) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(task, wait);
  };
}
