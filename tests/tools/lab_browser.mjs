// Works through notebooks in JupyterLab as a reader does who has no mouse, and tells what happened,
// as JSON lines.
//
//   node lab_browser.mjs '{"address": "http://127.0.0.1:8888", "token": "...", ...}'
//
// Fields: address, token, modules (node_modules), chromium, visits; optional shots (folder for
// screenshots). A visit is {notebook, slider, quiz, exercise}: numbers of cells to work in, and for
// the exercise also the code to type. All but the notebook may be left out.
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const task = JSON.parse(process.argv[2]);
const require = createRequire(join(task.modules, "index.js"));
const { chromium } = require("playwright-core");
const profile = mkdtempSync(join(tmpdir(), "lab-browser-"));
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const RUN_LIMIT = 600000;  // milliseconds for all cells of a notebook, on a busy machine
const MOST_TABS = 40;
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const context = await chromium.launchPersistentContext(profile, {
  executablePath: task.chromium, headless: true, args: flags,
  viewport: { width: 1280, height: 900 }, colorScheme: "light",
});
const page = await context.newPage();
page.setDefaultTimeout(60000);
const press = (key) => page.keyboard.press(key);
const shoot = (name) => task.shots && page.screenshot({ path: join(task.shots, `${name}.png`) });

let errors = [];
page.on("console", (message) => {
  if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
});
page.on("pageerror", (error) => errors.push(String(error)));

// A command by its name, through the command palette.
async function command(name) {
  await press("Control+Shift+C");
  await page.locator("#modal-command-palette input").waitFor();
  await page.keyboard.insertText(name);
  await page.getByText(name, { exact: true }).first().waitFor();
  await press("Enter");
  await page.locator("#modal-command-palette").waitFor({ state: "hidden" });
}

const notebook = () => page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook");
const cell = (number) => notebook().locator(".jp-Cell").nth(number);

// Open a notebook: its kernel has started, and all of its cells are there.
async function open(path, cells) {
  await page.goto(`${task.address}/lab/tree/${path}?reset&token=${task.token}`);
  await page.getByText(/ipykernel\) \| Idle/).waitFor();
  await cell(cells - 1).waitFor({ state: "attached" });
}

// Wait until every code cell has a number: [*] is one that still runs.
const allRun = (limit) => page.waitForFunction(() => {
  const prompts = document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt");
  return [...prompts].every((prompt) => /\[\d+\]/.test(prompt.textContent));
}, null, { timeout: limit });

async function runAll() {
  await command("Run All Cells");
  await allRun(RUN_LIMIT);
}

// Which cell is the active one, by its number.
const active = () => page.evaluate(() =>
  [...document.querySelectorAll(".jp-Notebook .jp-Cell")]
    .findIndex((one) => one.classList.contains("jp-mod-active")));

// Walk to a cell with the arrow keys; first out of whatever is inside a cell, or it would move.
async function walkTo(number) {
  await tabTo(".jp-Cell", "Shift+Tab");
  for (let at = await active(); at !== number; at = await active()) {
    await press(at < number ? "ArrowDown" : "ArrowUp");
    if ((await changed(at, active)) === null) throw new Error(`stuck at cell ${at}`);
  }
}

// Press Tab until something that fits the selector has the focus; returns how often, or null.
async function tabTo(selector, key = "Tab") {
  for (let times = 0; times <= MOST_TABS; times += 1) {
    if (await page.evaluate((one) => document.activeElement?.matches(one), selector)) return times;
    await press(key);
  }
  return null;
}

const picture = (where) => where.locator("img").first().evaluate(async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL();
});

async function changed(before, read, limit = 20000) {
  for (const end = Date.now() + limit; Date.now() < end;) {
    const now = await read();
    if (now !== "" && now !== before) return now;
    await page.waitForTimeout(50);
  }
  return null;
}

async function moveSlider(number) {
  await walkTo(number);
  const tabs = await tabTo(".noUi-handle");
  const before = await picture(cell(number));
  const start = Date.now();
  await press("ArrowLeft");
  const after = await changed(before, () => picture(cell(number)));
  const milliseconds = Date.now() - start;
  await press("ArrowRight");
  const back = (await changed(after, () => picture(cell(number)))) === before;
  return { tabs, changed: after !== null, back, milliseconds };
}

// Choose one answer after the other of the first question: Tab goes on, Space chooses.
async function answerQuiz(number, choices) {
  await walkTo(number);
  const tabs = await tabTo(".ldm-quiz input[type=radio]");
  const said = [];
  for (let i = 0; i < choices; i += 1) {
    if (i > 0) await press("Tab");
    await press("Space");
    const read = () => cell(number).locator("[role=alert]").first().innerText().catch(() => "");
    said.push(await changed(said.at(-1), read));
  }
  return { tabs, said };
}

async function tryExercise({ stub, check, answers }) {
  const said = [];
  for (const code of answers) {
    await walkTo(stub);
    await press("Enter");
    await press("Control+A");
    await page.keyboard.insertText(code);
    await press("Shift+Enter");
    await walkTo(check);
    const output = () => cell(check).locator(".jp-OutputArea-output").allInnerTexts()
      .then((texts) => texts.join());
    const before = await output();
    await press("Shift+Enter");
    said.push(await changed(before, output));
  }
  return said;
}

for (const visit of task.visits) {
  const name = basename(visit.notebook, ".ipynb");
  errors = [];
  await open(visit.notebook, visit.cells);
  await runAll();
  await shoot(`${name}_run`);
  const found = { notebook: visit.notebook };
  if (visit.slider !== undefined) found.slider = await moveSlider(visit.slider);
  await shoot(`${name}_slider`);
  if (visit.quiz) found.quiz = await answerQuiz(visit.quiz.cell, visit.quiz.choices);
  await shoot(`${name}_quiz`);
  if (visit.exercise) found.exercise = await tryExercise(visit.exercise);
  await shoot(`${name}_exercise`);
  await press("Control+S");
  await page.locator(".jp-mod-dirty").waitFor({ state: "detached" });
  say({ ...found, errors });
}
await context.close();
rmSync(profile, { recursive: true, force: true });
