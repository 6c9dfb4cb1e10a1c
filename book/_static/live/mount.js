/**
 * Puts each part where the page has `<div class="ldm-live" data-part="...">`.
 * Until then, and where it cannot run, the div shows the message that stands in it.
 * @module
 */
import { Between } from "./between.js";
import { Draw } from "./draw.js";
import { Embed } from "./embed.js";
import { h } from "./dom.js";
import { supported } from "./model.js";
import { sharedModel } from "./part.js";
import { Scribble } from "./scribble.js";

const PARTS = { draw: Draw, between: Between, scribble: Scribble, embed: Embed };

/** The style sheet, before anything is shown that needs it. */
function style() {
  const href = new URL("live.css", import.meta.url).href;
  return new Promise((done) => {
    document.head.append(h("link", { rel: "stylesheet", href, load: done, error: done }));
  });
}

function refuse(roots, reason) {
  for (const root of roots) {
    root.dataset.state = "failed";
    root.replaceChildren(h("p", { class: "ldm-status", role: "status" }, reason));
  }
}

async function mount() {
  const roots = [...document.querySelectorAll(".ldm-live[data-part]")];
  if (!roots.length) return;
  await style();
  if (!supported()) {
    refuse(roots, "This browser has no WebAssembly, which the model needs to run here. The notebooks show the same.");
    return;
  }
  try {
    const model = await sharedModel();
    for (const root of roots) new PARTS[root.dataset.part](root, model);
    for (const root of roots) root.dataset.state = "ready";
  } catch (error) {
    refuse(roots, `The model cannot run here: ${error.message ?? error}.`);
  }
}

await mount();
