// Opens pages of the built site in headless Chromium and tells what happened, as JSON lines.
//
//   node book_browser.mjs '{"address": "http://127.0.0.1:8000", "pages": ["book/index"], ...}'
//
// Fields: address, pages, modules (node_modules), chromium; optional shots (folder for
// screenshots), axe (true: check accessibility), search (words to look for), parallel (pages at
// a time).
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const task = JSON.parse(process.argv[2]);
const require = createRequire(join(task.modules, "index.js"));
const { chromium } = require("playwright-core");
const axeSource = task.axe ? readFileSync(require.resolve("axe-core/axe.min.js"), "utf8") : null;
const profile = mkdtempSync(join(tmpdir(), "book-browser-"));
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const context = await chromium.launchPersistentContext(profile, {
  executablePath: task.chromium, headless: true, args: flags,
  viewport: { width: 1280, height: 900 }, colorScheme: "light",
});

// A page that notes its own errors and requests.
async function open(name) {
  const page = await context.newPage();
  const found = { page: name, errors: [], failed: [], external: [] };
  page.on("console", (message) => {
    if (message.type() === "error") found.errors.push(message.text());
  });
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on("requestfailed", (request) => found.failed.push(request.url()));
  page.on("response", (response) => {
    if (response.status() >= 400) found.failed.push(`${response.status()} ${response.url()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (/^(https?|wss?):/.test(url) && !url.startsWith(task.address)) found.external.push(url);
  });
  await page.goto(`${task.address}/${name}.html`, { waitUntil: "load" });
  await settled(page);
  return { page, found };
}

// Wait until formulas, diagrams and widgets are drawn, or say what is not.
async function settled(page) {
  await page.waitForFunction(() => {
    const formulas = [...document.querySelectorAll(".math")].length;
    const drawn = document.querySelectorAll("mjx-container").length;
    const diagrams = [...document.querySelectorAll("pre.mermaid")]
      .filter((one) => one.closest("details:not([open])") === null);
    return (formulas === 0 || drawn > 0)
      && diagrams.every((one) => one.querySelector("svg") || one.getBoundingClientRect().top > 3000);
  }, null, { timeout: 20000 }).catch(() => {});
}

async function drawings(page) {
  // Diagrams may wait until they are seen: show each of them.
  for (const one of await page.locator("pre.mermaid").all()) await one.scrollIntoViewIfNeeded();
  await settled(page);
  await page.waitForTimeout(100);
  return page.evaluate(() => {
    const count = (selector) => document.querySelectorAll(selector).length;
    return {
      title: document.title, words: document.body.innerText.split(/\s+/).length,
      math: count(".math"), mathDrawn: count("mjx-container"),
      mathErrors: count("mjx-merror, [data-mjx-error]"),
      mermaid: count("pre.mermaid"), mermaidDrawn: count("pre.mermaid svg[id]"),
      mermaidErrors: count("pre.mermaid svg[aria-roledescription='error']"),
      code: count("div.highlight pre"), colours: count("div.highlight pre span[class]"),
      figures: count(".bd-article img"),
      withoutAlt: [...document.querySelectorAll(".bd-article img")]
        .filter((image) => !(image.getAttribute("alt") || "").trim()).length,
      widgetViews: count("script[type='application/vnd.jupyter.widget-view+json']"),
      widgets: count(".widget-subarea .jupyter-widgets, .jupyter-widgets"),
      wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    };
  });
}

// A slider over pictures made beforehand: one press of a key must change its picture.
async function framesMove(page) {
  let moved = 0;
  for (const figure of await page.locator("figure.frames").all()) {
    const image = figure.locator("img");
    const range = figure.locator("input[type=range]").last();
    const before = await image.getAttribute("src");
    const up = Number(await range.inputValue()) === 0;
    await range.focus();
    await page.keyboard.press(up ? "ArrowRight" : "ArrowLeft");
    const loaded = await image.evaluate((one) => one.decode().then(() => one.naturalWidth > 0));
    if (loaded && (await image.getAttribute("src")) !== before) moved += 1;
  }
  return moved;
}

// A quiz needs no script: with the keyboard, open a wrong choice of each question and then the right
// one, and tell what is seen. What a choice says must not be seen before.
async function quizAnswers(page) {
  const answers = [];
  for (const question of await page.locator(".ldm-quiz [role=group]").all()) {
    const before = await question.locator("details > p").filter({ visible: true }).count();
    const said = { question: await question.locator("> p").innerText(), before };
    for (const kind of ["wrong", "right"]) {
      const choice = question.locator(`details.${kind}`).first();
      said[kind] = { choice: await choice.locator("summary").innerText() };
      await choice.locator("summary").focus();
      await page.keyboard.press("Enter");
      said[kind].seen = await choice.locator("> p").isVisible();
      said[kind].reason = await choice.locator("> p").innerText();
    }
    answers.push(said);
  }
  return answers;
}

const OF_COLOURS = ["color-contrast", "link-in-text-block"];
const SAME_IN_ANY_COLOUR = {
  runOnly: ["wcag2a", "wcag2aa"], rules: Object.fromEntries(OF_COLOURS.map((id) => [id, { enabled: false }])),
};

async function accessibility(page, options) {
  await page.evaluate(axeSource);
  const result = await page.evaluate(
    (options) => window.axe.run({ ...options, resultTypes: ["violations"] }), options);
  return result.violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => ({ rule: one.id, help: one.help, nodes: one.nodes.length,
      examples: one.nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message || ""}`) }));
}

// Thousands of elements need not be asked for their contrast: the inside of a formula has the colours
// of its paragraph, and a kind of word in code looks the same everywhere, so one of each is enough.
async function contrast(page) {
  const set = (hide) => page.evaluate((hide) => {
    const seen = new Set();
    for (const word of document.querySelectorAll(".highlight pre span, mjx-container")) {
      const kind = `${word.parentElement.className} ${word.className || word.tagName}`;
      word.style.visibility = hide && seen.has(kind) ? "hidden" : "";
      seen.add(kind);
    }
  }, hide);
  await set(true);
  const found = await accessibility(page, { runOnly: OF_COLOURS });
  await set(false);
  return found;
}

const waiting = [...task.pages];
async function worker() {
  while (waiting.length) {
    const name = waiting.shift();
    const start = Date.now();
    const shoot = (kind) => task.shots
      && page.screenshot({ path: join(task.shots, `${name.replaceAll("/", "_")}_${kind}.png`) });
    const { page, found } = await open(name);
    Object.assign(found, await drawings(page));
    found.frames = await page.locator("figure.frames").count();
    found.framesMoved = await framesMove(page);
    found.quiz = await quizAnswers(page);
    if (axeSource) found.axe = [...await accessibility(page, SAME_IN_ANY_COLOUR), ...await contrast(page)];
    await page.evaluate(() => window.scrollTo(0, 0));
    await shoot("light");
    await page.setViewportSize({ width: 390, height: 844 });
    await page.waitForTimeout(task.shots ? 500 : 50);
    await shoot("phone");
    found.wideOnPhone = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.evaluate(() => { document.documentElement.dataset.theme = "dark"; });
    await page.waitForTimeout(found.mermaid ? 500 : 200);
    await shoot("dark");
    if (axeSource) found.axeDark = await contrast(page);
    found.seconds = (Date.now() - start) / 1000;
    say(found);
    await page.close();
  }
}

await Promise.all(Array.from({ length: task.parallel || 2 }, worker));
for (const word of task.search || []) {
  const page = await context.newPage();
  await page.goto(`${task.address}/search.html?q=${encodeURIComponent(word)}`);
  await page.waitForSelector("#search-results li, ul.search li", { timeout: 20000 }).catch(() => {});
  await page.waitForTimeout(500);
  const hits = await page.locator("#search-results ul.search li > a").allInnerTexts();
  say({ search: word, hits });
  await page.close();
}
await context.close();
rmSync(profile, { recursive: true, force: true });
