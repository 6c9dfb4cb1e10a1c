// Drives the live page in Chromium and writes what it saw as JSON:
//   node page.mjs CHROMIUM NODE_MODULES URL OUT.json [FOLDER for screenshots]
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [chromium, modules, url, out, shots] = process.argv.slice(2);
const { chromium: engine } = createRequire(join(resolve(modules), "x.js"))("playwright-core");
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const host = new URL(url).host;
const seen = { problems: [], outside: [], paths: [] };
const browser = await engine.launch({ executablePath: chromium, args: flags });

/** A page whose every complaint and request is written down. */
async function open(options = {}, before = null) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  if (before) await context.addInitScript(before);
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  page.on("console", (m) => m.type() === "error" && seen.problems.push(`${m.text()} ${m.location().url}`));
  page.on("pageerror", (error) => seen.problems.push(String(error.stack ?? error)));
  page.on("requestfailed", (request) => seen.problems.push(`failed: ${request.url()}`));
  page.on("request", (request) => {
    const target = new URL(request.url());
    if (/^https?:$/.test(target.protocol)) {
      (target.host === host ? seen.paths : seen.outside).push(target.host === host ? target.pathname : target.href);
    }
  });
  await page.goto(url);
  return page;
}

const part = (name) => `.ldm-live[data-part=${name}]`;
/** Wait until a part has nothing more to do. */
async function ready(page, name) {
  const busy = (selector) => document.querySelector(selector)?.dataset.state !== "busy";
  await page.waitForTimeout(300); // changed settings are acted on after a moment
  await page.waitForFunction(busy, part(name));
  const root = page.locator(part(name));
  const state = await root.getAttribute("data-state");
  if (state !== "ready") throw new Error(`${name}: ${state}: ${await root.innerText()}`);
}
/** The numbers 0..255 that a canvas shows. */
const pixels = (page, selector, index = 0) =>
  page.evaluate(([s, i]) => {
    const canvas = document.querySelectorAll(s)[i];
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, k) => data[4 * k]);
  }, [selector, index]);
const slide = async (page, name, label, value) => {
  const control = page.locator(part(name)).getByLabel(label, { exact: true });
  await control.fill(String(value));
  await control.blur();
};
const press = async (page, name, text) => {
  await page.locator(part(name)).getByRole("button", { name: text, exact: true }).click();
  await ready(page, name);
};
const digit = async (page, name, text) => {
  await page.locator(`${part(name)} .ldm-key`, { hasText: text }).click();
  await ready(page, name);
};
const picture = (name, index = 0) => [`${part(name)} .ldm-frames > figure > canvas`, index];

// ----- part one: digits as they are asked for
let page = await open();
await ready(page, "draw");
seen.before = { paths: [...seen.paths], noise: await pixels(page, `${part("draw")} .ldm-tiles canvas`) };
if (shots) mkdirSync(shots, { recursive: true });
const shoot = (file, on = page) => shots && on.screenshot({ path: join(shots, file), fullPage: true });
seen.drawn = [];
for (let round = 1; round <= 3; round++) {
  await slide(page, "draw", "Seed", round);
  for (let label = 0; label < 10; label++) {
    await digit(page, "draw", String(label));
    const shown = await pixels(page, ...picture("draw"));
    seen.drawn.push({ label, seed: round, pixels: shown });
  }
}
seen.status = await page.locator(`${part("draw")} [role=status]`).innerText();

// ----- seconds of a guided 20-step sample, of the page's own thread
const client = await page.context().newCDPSession(page);
await client.send("Performance.enable", { timeDomain: "threadTicks" });
const thread = async () => {
  const { metrics } = await client.send("Performance.getMetrics");
  return metrics.find((metric) => metric.name === "TaskDuration").value;
};
await slide(page, "draw", "Steps", 20);
await ready(page, "draw");
const start = await thread();
await press(page, "draw", "Draw");
seen.seconds20 = { thread: (await thread()) - start, wall: Number(await page.locator(part("draw")).getAttribute("data-seconds")) };

// ----- the slider through the steps, by keyboard
const scrub = page.locator(part("draw")).getByLabel("Step", { exact: true });
await scrub.focus();
await page.keyboard.press("Home");
seen.first = { label: await page.locator(picture("draw")[0]).first().getAttribute("aria-label"), value: await scrub.getAttribute("aria-valuetext") };
await page.keyboard.press("End");
seen.last = { label: await page.locator(picture("draw")[0]).first().getAttribute("aria-label"), value: await scrub.getAttribute("aria-valuetext") };
await slide(page, "draw", "Steps", 5);
await page.context().setOffline(true); // all that is needed is there
await ready(page, "draw");

// ----- digits by keyboard: from 9 with the arrow key to "any", and back
await page.locator(`${part("draw")} input[value="9"]`).focus();
await page.keyboard.press("ArrowLeft");
await ready(page, "draw");
seen.byKeyboard = await page.locator(part("draw")).getAttribute("data-label");

// ----- part two: its ends are part one's pictures
await digit(page, "draw", "7");
const seven3 = await pixels(page, ...picture("draw"));
await slide(page, "between", "First seed", 3);
await slide(page, "between", "Second seed", 4);
await press(page, "between", "Draw the way");
await slide(page, "between", "Way", 0);
const wayFrom = await pixels(page, ...picture("between"));
await slide(page, "between", "Way", 8);
const wayTo = await pixels(page, ...picture("between"));
await slide(page, "draw", "Seed", 4);
await ready(page, "draw");
seen.between = { from: [seven3, wayFrom], to: [await pixels(page, ...picture("draw")), wayTo] };
seen.strip = await Promise.all(Array.from({ length: 9 }, (_, i) => pixels(page, `${part("between")} .ldm-strip canvas`, i)));

// ----- part three: a scribble with the mouse
const pad = page.locator(".ldm-pad");
const stroke = async (points) => {
  await pad.scrollIntoViewIfNeeded();
  const box = await pad.boundingBox();
  const place = ([x, y]) => [box.x + (x / 32) * box.width, box.y + (y / 32) * box.height];
  await page.mouse.move(...place(points[0]));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...place(point), { steps: 8 });
  await page.mouse.up();
};
await press(page, "scribble", "Denoise from here");
seen.emptyPad = await page.locator(`${part("scribble")} [role=status]`).innerText();
await stroke([[9, 8], [22, 8], [15, 26]]); // a seven
const scribbled = await pixels(page, ".ldm-pad");
await slide(page, "scribble", "Strength", 0);
await press(page, "scribble", "Denoise from here");
const zero = await pixels(page, ...picture("scribble"));
await slide(page, "scribble", "Seed", 4);
await slide(page, "scribble", "Strength", 1);
await digit(page, "scribble", "7");
seen.scribble = { drawn: scribbled, zero, one: await pixels(page, ...picture("scribble")), plain: seen.between.to[0] };
await slide(page, "scribble", "Strength", 0.6);
await ready(page, "scribble");
seen.scribble.some = await pixels(page, ...picture("scribble"));
await shoot("desktop.png");
await page.evaluate(() => { document.documentElement.dataset.theme = "dark"; });
await shoot("dark.png");

// ----- the pad by keyboard
await press(page, "scribble", "Clear");
await pad.focus();
for (const key of [" ", ...Array(6).fill("ArrowUp"), ...Array(5).fill("ArrowLeft"), " "]) await page.keyboard.press(key);
await page.locator(part("scribble")).getByRole("button", { name: "Clear" }).focus();
await ready(page, "scribble");
seen.padByKeyboard = await pixels(page, ".ldm-pad");

// ----- the small one
if (await page.locator(part("embed")).count()) {
  await press(page, "embed", "Generate a 5");
  seen.embed = await pixels(page, `${part("embed")} > canvas`);
}
await page.context().close();

// ----- a phone: it fits, and a finger draws
page = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
await ready(page, "draw");
await digit(page, "draw", "3");
await press(page, "between", "Draw the way");
seen.phone = await page.evaluate(() => ({
  page: document.documentElement.scrollWidth,
  window: document.documentElement.clientWidth,
  small: [...document.querySelectorAll(".ldm-live :is(button, .ldm-key span, input[type=range], select)")]
    .map((e) => [e.textContent, e.getBoundingClientRect().height]).filter(([, size]) => size < 24),
}));
await page.locator(".ldm-pad").scrollIntoViewIfNeeded();
const box = await page.locator(".ldm-pad").boundingBox();
await page.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
seen.phone.touched = await pixels(page, ".ldm-pad");
await press(page, "scribble", "Denoise from here");
await shoot("phone.png");
await page.context().close();

// ----- without WebAssembly there is a message
page = await open({}, () => { delete globalThis.WebAssembly; });
await page.waitForSelector(`${part("draw")}[data-state=failed]`);
seen.withoutWasm = await page.locator(part("draw")).innerText();
await browser.close();
writeFileSync(out, JSON.stringify(seen));
