// Small repairs of the built pages. No page needs more than this to be read.

// The widget manager speaks to MathJax 2, the pages have MathJax 4: hand its requests on. The
// object is replaced while MathJax starts, so the shim is put on whatever stands there.
{
  const hub = {
    Queue: (...calls) => {
      for (const call of calls) {
        const nodes = Array.isArray(call) ? call.slice(2).flat().filter(Boolean) : [];
        if (nodes.length && window.MathJax.typesetPromise) window.MathJax.typesetPromise(nodes);
      }
    },
  };
  let current = window.MathJax;
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => current,
    set: (value) => {
      current = value;
      if (value && !value.Hub) value.Hub = hub;
    },
  });
}

// Figures of a notebook have no description of their own: point to the section they stand in.
function describeFigures() {
  for (const image of document.querySelectorAll(".cell_output img")) {
    const alt = image.getAttribute("alt") || "";
    if (alt === "" || alt.includes("_images/") || alt.endsWith(".png")) {
      const heading = image.closest("section")?.querySelector("h1, h2, h3");
      const title = heading ? heading.firstChild.textContent.trim() : document.title;
      image.setAttribute("alt", `Figure made by the code above, in the section “${title}”`);
    }
  }
}

// Widgets are drawn late, and without names that a screen reader could say.
function nameWidgets() {
  for (const button of document.querySelectorAll(".jupyter-button:not([aria-label])")) {
    const icon = button.querySelector("i[class*='fa-']")?.className.match(/fa-(\w[\w-]*)/);
    if (!button.textContent.trim()) button.setAttribute("aria-label", button.title || icon?.[1] || "button");
  }
  for (const handle of document.querySelectorAll(".noUi-handle:not([aria-label])")) {
    const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label")?.textContent.trim();
    handle.setAttribute("aria-label", label || "slider");
  }
  for (const image of document.querySelectorAll("img.widget-image:not([alt])")) {
    image.setAttribute("alt", "The picture of this widget at its present setting");
  }
}

// What scrolls sideways must be reachable by keyboard. Widths change late: when fonts arrive, and
// when the sidebar has moved.
const watched = new WeakSet();
const widths = new ResizeObserver(() => letScroll());

function letScroll() {
  const boxes = "div.highlight pre, .bd-article table, div.math.notranslate, .cell_output, pre.mermaid";
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth && box.tabIndex < 0) box.tabIndex = 0;
    if (!watched.has(box)) widths.observe(box);  // again would mean: report again, for ever
    watched.add(box);
  }
}

// A notebook's widget needs Python. Where its pictures at many settings are there, show a slider
// that moves through them, in the widget's place.
function framesPlayer(frames, base) {
  const figure = document.createElement("figure");
  figure.className = "frames";
  const image = document.createElement("img");
  const caption = document.createElement("figcaption");
  const chosen = frames.controls.map((control) => control.start);
  const show = () => {
    let index = 0;
    frames.controls.forEach((control, i) => { index = index * control.values.length + chosen[i]; });
    image.src = new URL(`${frames.files}${index}.webp`, base).href;
    const setting = frames.controls.map((control, i) => `${control.label} ${control.values[chosen[i]]}`);
    image.alt = `The picture of this widget at ${setting.join(", ")}`;
  };
  frames.controls.forEach((control, i) => {
    const label = document.createElement("label");
    const words = isNaN(Number(control.values[0]));
    const input = document.createElement(words ? "select" : "input");
    const reading = document.createElement("output");
    if (words) {
      control.values.forEach((value, k) => input.add(new Option(value, k)));
    } else {
      Object.assign(input, { type: "range", min: 0, max: control.values.length - 1, step: 1 });
    }
    input.value = control.start;
    const read = () => {
      chosen[i] = Number(input.value);
      if (!words) {
        reading.value = control.values[chosen[i]];
        input.setAttribute("aria-valuetext", control.values[chosen[i]]);
      }
      show();
    };
    input.addEventListener("input", read);
    label.append(`${control.label} `, input, " ", reading);
    figure.append(label);
    read();
  });
  caption.textContent = "Pictures made beforehand: this page needs no Python. In the notebook every setting works.";
  figure.append(image, caption);
  return figure;
}

function showFrames() {
  const own = document.querySelector("script[src*='_static/site.js']");
  const base = new URL("frames/", own.src);
  const views = document.querySelectorAll("script[type='application/vnd.jupyter.widget-view+json']");
  views.forEach((view, i) => {
    const frames = (window.LDM_FRAMES || [])[i];
    const output = view.closest(".output") || view.parentElement;
    if (!frames) return;
    output.before(framesPlayer(frames, base));
    output.classList.add("has-frames");
  });
}

// Diagrams fill the line, but letters stay readable: a wide one scrolls, a small one stays small.
function sizeDiagrams() {
  for (const drawing of document.querySelectorAll("pre.mermaid > svg")) {
    const width = drawing.viewBox.baseVal.width;
    if (width) {
      drawing.style.setProperty("min-width", `${Math.round(0.7 * width)}px`);
      drawing.style.setProperty("width", `min(100%, ${Math.round(1.1 * width)}px)`);
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  showFrames();
  // The bibliography calls itself a list, but its entries are none.
  for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");
  describeFigures();
  letScroll();
  let soon = null;
  new MutationObserver(() => {
    clearTimeout(soon);
    soon = setTimeout(() => { nameWidgets(); sizeDiagrams(); letScroll(); }, 50);
  }).observe(document.body, { childList: true, subtree: true });
});
document.fonts.ready.then(letScroll);
