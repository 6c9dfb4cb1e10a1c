// Opens decks from their folder in headless Chromium, walks through every slide, and tells what is
// there, as JSON lines.
//
//   node slides_browser.mjs '{"decks": ["/path/lesson-1.html"], "modules": ..., "chromium": ...}'
//
// Optional: shots (a folder for a screenshot of every slide).
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

const task = JSON.parse(process.argv[2]);
const require = createRequire(join(task.modules, "index.js"));
const { chromium } = require("playwright-core");
const profile = mkdtempSync(join(tmpdir(), "slides-browser-"));
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const context = await chromium.launchPersistentContext(profile, {
  executablePath: task.chromium, headless: true, args: flags,
  viewport: { width: 1280, height: 720 }, colorScheme: "light",
});

// What the slide that is shown holds.
function look() {
  const slide = Reveal.getCurrentSlide();
  const all = (selector) => [...slide.querySelectorAll(selector)];
  const shown = (one) => one.getClientRects().length > 0;
  const size = (one) => parseFloat(getComputedStyle(one).fontSize);
  const pictures = all("img").filter(shown);
  const texts = all("p, li, td, th, h1, h2").filter((one) => shown(one) && !one.closest("svg"));
  const words = slide.cloneNode(true);
  words.querySelectorAll("mjx-container, pre, code, aside").forEach((one) => one.remove());
  return {
    title: (slide.querySelector("h1, h2")?.innerText || "").trim(),
    tooLong: slide.dataset.fitted !== "yes",
    letters: Math.min(...texts.map(size), 99),
    listing: Math.min(...all("pre:not(.mermaid)").filter(shown).map(size), 99),
    pictures: pictures.length,
    broken: pictures.filter((one) => !one.complete || one.naturalWidth === 0).length,
    small: pictures.filter((one) => one.getBoundingClientRect().height < 60
      || one.getBoundingClientRect().width < 250).length,
    maths: all("mjx-container").filter(shown).length,
    wrongMaths: all("mjx-merror, [data-mjx-error]").length,
    rawMaths: (words.innerText.match(/\$[^$\n]+\$|\\(frac|mathcal|sigma|alpha)/g) || []).length,
    diagrams: all("pre.mermaid").length,
    diagramsDrawn: all("pre.mermaid svg[id]").filter((one) => one.getBoundingClientRect().width > 100).length,
  };
}

for (const deck of task.decks) {
  const page = await context.newPage();
  const found = { deck, errors: [], failed: [], external: [], slides: [] };
  page.on("console", (message) => {
    if (message.type() === "error") found.errors.push(message.text());
  });
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on("requestfailed", (request) => found.failed.push(request.url()));
  page.on("request", (request) => {
    if (/^(https?|wss?):/.test(request.url())) found.external.push(request.url());
  });
  await page.goto(pathToFileURL(deck).href, { waitUntil: "commit", timeout: 120000 });
  await page.waitForFunction(() => document.documentElement.dataset.deck, null, { timeout: 180000 })
    .catch(() => {});
  found.state = await page.evaluate(() => document.documentElement.dataset.deck || "never ready");
  const count = found.state === "ready" ? await page.evaluate(() => Reveal.getTotalSlides()) : 0;
  for (let i = 0; i < count; i += 1) {
    await page.waitForTimeout(60);
    found.slides.push(await page.evaluate(look));
    if (task.shots) {
      const name = `${basename(deck, ".html")}-${String(i + 1).padStart(2, "0")}.png`;
      await page.screenshot({ path: join(task.shots, name) });
    }
    await page.keyboard.press("Space");
  }
  process.stdout.write(JSON.stringify(found) + "\n");
  await page.close();
}
await context.close();
rmSync(profile, { recursive: true, force: true });
