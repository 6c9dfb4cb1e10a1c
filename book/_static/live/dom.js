/**
 * Small helpers to build a part of the page: elements, labelled controls, a line of news.
 * @module
 */
let count = 0;

/** An id that no other element has. */
export const freshId = (name) => `ldm-${name}-${++count}`;

/**
 * An element with attributes (functions become listeners) and children.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * A slider with its name and its value beside it.
 * @param {string} name
 * @param {{min: number, max: number, step: number, value: number, say?: (v: number) => string,
 *   input?: (v: number) => void, change?: (v: number) => void}} options
 * @returns {{element: HTMLElement, value: number, set: (v: number) => void, slider: HTMLInputElement}}
 */
export function range(name, { min, max, step, value, say = String, input, change }) {
  const id = freshId("range");
  const output = h("output", { for: id });
  const slider = h("input", {
    type: "range", id, min, max, step,
    input: () => (show(), input?.(control.value)),
    change: () => change?.(control.value),
  });
  const show = () => {
    output.textContent = say(control.value);
    slider.setAttribute("aria-valuetext", output.textContent);
  };
  const control = {
    element: h("div", { class: "ldm-field" }, h("label", { for: id }, name), slider, output),
    slider,
    get value() {
      return Number(slider.value);
    },
    set(v) {
      slider.value = String(v);
      show();
    },
  };
  control.set(value);
  return control;
}

/**
 * The seed: a number to type, and a button for another one.
 * @param {string} name
 * @param {number} value
 * @param {() => void} changed
 */
export function seedField(name, value, changed) {
  const id = freshId("seed");
  const box = h("input", {
    type: "number", id, min: 0, max: 4294967295, step: 1, value, inputmode: "numeric",
    change: () => changed(),
  });
  const control = {
    get value() {
      return Math.abs(Math.trunc(Number(box.value))) || 0;
    },
    renew() {
      box.value = String(Math.floor(Math.random() * 100000));
    },
  };
  const again = h(
    "button",
    { type: "button", "aria-label": `New ${name.toLowerCase()}`, click: () => (control.renew(), changed()) },
    "New",
  );
  control.element = h("div", { class: "ldm-field" }, h("label", { for: id }, name), box, again);
  return control;
}

/**
 * Radio buttons that look like keys: one for each class, and one that leaves it open.
 * @param {string} legend
 * @param {string[]} classes
 * @param {number} chosen
 * @param {(label: number) => void} picked also when the chosen one is pressed again
 */
export function classPicker(legend, classes, chosen, picked) {
  const group = freshId("class");
  const keys = [...classes.map((name, i) => [name, i]), ["any", -1]].map(([name, label]) => {
    const input = h("input", {
      type: "radio", name: group, value: label, checked: label === chosen,
      click: () => picked(label),
    });
    return h("label", { class: "ldm-key" }, input, h("span", {}, name));
  });
  const element = h("fieldset", { class: "ldm-keys" }, h("legend", {}, legend), ...keys);
  return {
    element,
    get value() {
      return Number(element.querySelector("input:checked").value);
    },
  };
}

/** A choice from a list. @param {string} name @param {Record<string, string>} options */
export function choice(name, options, value, change) {
  const id = freshId("choice");
  const items = Object.entries(options).map(([key, text]) =>
    h("option", { value: key, selected: key === value }, text),
  );
  const select = h("select", { id, change: () => change() }, ...items);
  return {
    element: h("div", { class: "ldm-field" }, h("label", { for: id }, name), select),
    get value() {
      return select.value;
    },
  };
}

/** One line that screen readers read out when it changes. */
export function statusLine(text = "") {
  return h("p", { class: "ldm-status", role: "status", "aria-live": "polite" }, text);
}
