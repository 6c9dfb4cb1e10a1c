/**
 * A pad to draw on with a finger, a pen, a mouse, or the arrow keys and the space bar.
 * @module
 */
import { h } from "./dom.js";
import { paint } from "./pictures.js";

const RADIUS = 1.35; // of the brush, in pixels of the picture: as thick as the digits' strokes

export class Pad {
  /** @param {number} width @param {number} height @param {() => void} changed after each stroke */
  constructor(width, height, changed) {
    this.width = width;
    this.height = height;
    this.changed = changed;
    this.cursor = [Math.round(width / 2), Math.round(height / 2)];
    this.element = h("canvas", {
      width, height, tabindex: 0, class: "ldm-pixels ldm-pad", role: "application",
      "aria-label": "Pad to draw on. With a pointer: press and move. By keyboard: arrow keys move, " +
        "the space bar puts the pen down or lifts it.",
      pointerdown: (event) => this.begin(event),
      pointermove: (event) => this.follow(event),
      pointerup: () => this.end(),
      pointercancel: () => this.end(),
      keydown: (event) => this.key(event),
      blur: () => this.lift(),
    });
    this.clear();
  }

  /** Nothing drawn yet. */
  get empty() {
    return this.values.every((value) => value === -1);
  }

  clear() {
    this.set(new Float32Array(this.width * this.height).fill(-1));
  }

  /** @param {Float32Array} values in [-1, 1] */
  set(values) {
    this.values = Float32Array.from(values);
    paint(this.element, this.values);
  }

  /** Where a pointer is, in pixels of the picture. */
  place(event) {
    const box = this.element.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width;
    const y = ((event.clientY - box.top) / box.height) * this.height;
    return [x, y];
  }

  begin(event) {
    if (event.button > 0) return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture?.(event.pointerId);
    this.last = this.place(event);
    this.line(this.last, this.last);
  }

  follow(event) {
    if (!this.last) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const here = this.place(part);
      this.line(this.last, here);
      this.last = here;
    }
  }

  end() {
    if (this.last) this.changed();
    this.last = null;
  }

  key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") {
      event.preventDefault();
      if (this.down) this.lift();
      else {
        this.down = true;
        this.line(this.cursor, this.cursor);
      }
    } else if (move) {
      event.preventDefault();
      const before = this.cursor;
      this.cursor = [
        Math.min(this.width - 1, Math.max(0, before[0] + move[0])),
        Math.min(this.height - 1, Math.max(0, before[1] + move[1])),
      ];
      if (this.down) this.line(before, this.cursor);
    } else return;
    this.showCursor();
  }

  /** A grey spot where the keyboard's pen is; not part of the drawing. */
  showCursor() {
    paint(this.element, this.values);
    const context = this.element.getContext("2d");
    context.fillStyle = this.down ? "#fa0" : "#08f";
    context.fillRect(this.cursor[0] - 1, this.cursor[1] - 1, 2, 2);
  }

  lift() {
    if (this.down) this.changed();
    this.down = false;
    paint(this.element, this.values);
  }

  /** A soft stroke from a to b: white inside the brush, fading over one pixel. */
  line([ax, ay], [bx, by]) {
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    for (let row = 0; row < this.height; row++) {
      for (let column = 0; column < this.width; column++) {
        const [px, py] = [column + 0.5 - ax, row + 0.5 - ay];
        const along = length ? Math.min(1, Math.max(0, (px * (bx - ax) + py * (by - ay)) / length)) : 0;
        const distance = Math.hypot(px - along * (bx - ax), py - along * (by - ay));
        const ink = 2 * Math.min(1, Math.max(0, RADIUS + 0.5 - distance)) - 1;
        const i = row * this.width + column;
        this.values[i] = Math.max(this.values[i], ink);
      }
    }
    paint(this.element, this.values);
  }
}
