/** The page in a browser, against what Python makes of the same files; check.sh runs it. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { chromium } from "playwright-core";

import { serve } from "../serve.js";
import { top } from "../src/scores.js";

const OUT = process.env.REFERENCE;
const skip = OUT ? false : "no REFERENCE: check.sh makes it";
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true };
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8");

let browser, server, address, reference, page;
const requests = [];
const problems = [];

before(async () => {
  if (skip) return;
  reference = JSON.parse(readFileSync(join(OUT, "reference.json"), "utf8"));
  server = await serve(0);
  address = `http://localhost:${server.address().port}/`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--host-resolver-rules=MAP plain.test localhost",
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []), // root has no sandbox to enter
    ],
  });
});

beforeEach(async () => {
  if (!skip) page = await openPage();
});

afterEach(() => Promise.all(browser?.contexts().map((context) => context.close()) ?? []));

after(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});

/** Returns a loaded page of a browser that has never seen it. */
async function openPage(options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(60_000); // a busy machine
  const opened = await context.newPage();
  opened.on("request", (request) => requests.push(request.url()));
  opened.on("pageerror", (error) => problems.push(error.message));
  opened.on("console", (message) => {
    if (/Content.Security.Policy|status of 404/.test(message.text())) problems.push(message.text());
  });
  await opened.goto(address);
  await opened.waitForSelector("#answers li");
  return opened;
}

/** Waits until every model has a latency. */
function measured() {
  return page.waitForFunction(() => {
    const rows = [...document.querySelectorAll("#rows tr")];
    return rows.length && rows.every((row) => /\d\sms/.test(row.textContent));
  });
}

/** Waits until an element holds a text. */
function holds(selector, expected) {
  return page.waitForFunction(
    ([place, words]) => document.querySelector(place)?.textContent.includes(words),
    [selector, expected],
  );
}

const text = async (selector) => (await page.textContent(selector)).replaceAll("\u00a0", " ");

async function rows() {
  const cells = await page.$$eval("#rows tr", (found) =>
    found.map((row) => [...row.cells].map((cell) => cell.innerText.replaceAll("\u00a0", " "))),
  );
  return Object.fromEntries(cells.map(([name, ...rest]) => [name.split("\n")[0], rest]));
}

const file = (name, content) => ({ name, content: Buffer.from(content).toString("base64") });
const picture = (name) => file(name, readFileSync(reference.pictures[name]));
const bundle = (name) =>
  [".tflite", ".json"].map((ending) => file(name + ending, readFileSync(join(OUT, name + ending))));

/** Drops files on the page, as a mouse does. */
async function drop(files) {
  const transfer = await page.evaluateHandle((given) => {
    const data = new DataTransfer();
    for (const { name, content } of given) {
      const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
      data.items.add(new File([bytes], name));
    }
    return data;
  }, files);
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
}

async function saysOnDrop(files) {
  await drop(files);
  await page.waitForSelector("#message:not([hidden])");
  return text("#message");
}

const shipped = () => Object.keys(reference.models).slice(0, -3); // the odd ones come last

test("the table holds what the JSON files say, and latencies", { skip }, async () => {
  await measured();
  const shown = await rows();
  assert.deepEqual(Object.keys(shown), shipped());
  for (const name of shipped()) {
    const [size, gzip, accuracy, latency] = shown[name];
    const sidecar = reference.models[name];
    for (const [cell, expected] of [
      [size, sidecar.size_bytes],
      [gzip, sidecar.gzip_bytes],
    ]) {
      const [, number, unit] = cell.match(/^([\d.]+) (KiB|MiB)/);
      const found = number * { KiB: 2 ** 10, MiB: 2 ** 20 }[unit];
      assert.ok(Math.abs(found / expected - 1) < 0.006, `${name}: ${cell}, ${expected}`);
    }
    assert.equal(accuracy, `${(100 * sidecar.accuracy).toFixed(2)} %`);
    assert.ok(parseFloat(latency) > 0);
    console.log(`# ${name}: ${shown[name].join(" | ").replaceAll("\n", " ")}`);
  }
});

test("every sample gets Python's answer", { skip }, async () => {
  const buttons = await page.$$("#samples button");
  const titles = await page.$$eval("#samples img", (images) => images.map(({ alt }) => alt));
  assert.ok(buttons.length > 1);
  for (const [i, button] of buttons.entries()) {
    await button.click();
    await holds("#caption", `Labelled “${titles[i]}”`);
    assert.equal(await button.getAttribute("aria-pressed"), "true");
    const name = decodeURIComponent(
      (await button.$eval("img", (image) => image.src)).split("/").at(-1),
    );
    const [model] = shipped();
    const expected = top(reference.logits[model][name], reference.models[model].labels);
    await holds("#answers .label", expected[0].label);
    const lines = await page.$$eval("#answers li", (items) =>
      items.map((item) => [...item.children].map((child) => child.textContent)),
    );
    expected.forEach(({ label, probability }, place) => {
      assert.equal(lines[place][0], label);
      assert.ok(Math.abs(parseFloat(lines[place][1]) - 100 * probability) < 0.06);
    });
  }
});

test("pixels and logits are Python's", { skip }, async () => {
  const names = [...shipped(), "uint8"];
  await drop(bundle("uint8"));
  await holds("#rows", "uint8");
  const found = await page.evaluate(runInPage, {
    names,
    uint8: bundle("uint8").map(({ content }) => content),
    pictures: Object.keys(reference.pictures).map(picture),
    shape: reference.pixels_shape,
  });
  for (const [name, encoded] of Object.entries(reference.pixels)) {
    const expected = [...Buffer.from(encoded, "base64")];
    const most = Math.max(...expected.map((value, i) => Math.abs(value - found.pixels[name][i])));
    // a canvas rounds what is half transparent; two JPEG decoders may round differently
    const allowed = { "fading.png": 1, "turned.jpg": 2 }[name] ?? 0;
    if (allowed) console.log(`# ${name}: pixels at most ${most} of 255 apart`);
    assert.ok(most <= allowed, `${name}: ${most} of 255 apart`);
  }
  for (const name of names) {
    const apart = Object.entries(reference.logits[name]).map(([shown, expected]) => {
      const range = Math.max(...expected) - Math.min(...expected);
      const differences = expected.map((logit, i) =>
        Math.abs(logit - found.logits[name][shown][i]),
      );
      return [shown, Math.max(...differences) / range];
    });
    const exact = apart.filter(([shown]) => !/fading|turned/.test(shown)).map(([, most]) => most);
    console.log(
      `# ${name}: logits at most ${Math.max(...exact).toExponential(1)} of their range apart`,
    );
    assert.ok(Math.max(...exact) <= 1e-5, JSON.stringify(apart));
  }
});

/** Runs in the page: what its own modules make of pictures. */
async function runInPage({ names, uint8, pictures, shape }) {
  const { parseSidecar } = await import("./src/bundle.js");
  const { Classifier } = await import("./src/classifier.js");
  const { readBundle } = await import("./src/folder.js");
  const { readPicture } = await import("./src/picture.js");
  const { preprocess } = await import("./src/preprocess.js");
  const decoded = (content) => Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const shown = {};
  for (const { name, content } of pictures) {
    shown[name] = await readPicture(new Blob([decoded(content)]), name);
  }
  const pixels = Object.fromEntries(
    Object.entries(shown).map(([name, picture]) => [name, [...preprocess(picture, shape)]]),
  );
  const logits = {};
  for (const model of names) {
    const { sidecar, content } =
      model === "uint8"
        ? { sidecar: parseSidecar(model, atob(uint8[1])), content: decoded(uint8[0]) }
        : await readBundle(new URL("assets/", document.baseURI), model);
    const classifier = await Classifier.load(sidecar, content);
    logits[model] = {};
    for (const [name, picture] of Object.entries(shown)) {
      logits[model][name] = [...(await classifier.logits(picture))];
    }
    classifier.delete();
  }
  return { pixels, logits };
}

test("a picture may be dropped or chosen, and a text may not", { skip }, async () => {
  await drop([picture("photo.png")]);
  await holds("#caption", "photo.png");
  assert.equal(await page.getAttribute("#message", "hidden"), "");
  assert.equal(await page.locator("#samples [aria-pressed=true]").count(), 0);
  await page.setInputFiles("input[type=file] >> nth=0", reference.pictures["grey.png"]);
  await holds("#caption", "grey.png");
  const says = await saysOnDrop([file("notes.txt", "no picture")]);
  assert.equal(says, "notes.txt is not a picture that this browser can read.");
  assert.equal(await text("#caption"), "grey.png");
});

test("a bundle of one's own joins the table and is chosen", { skip }, async () => {
  await drop(bundle("uint8"));
  await holds("#rows", "uint8");
  await measured();
  assert.deepEqual(Object.keys(await rows()), [...shipped(), "uint8"]);
  assert.equal(await text("#answer-model"), "of uint8");
  await drop(bundle("uint8")); // the same again takes its place
  await measured();
  assert.deepEqual(Object.keys(await rows()), [...shipped(), "uint8"]);
});

test("a broken or foreign bundle is a sentence, and the page lives on", { skip }, async () => {
  const [tflite, json] = bundle("uint8");
  const content = Buffer.from(tflite.content, "base64");
  const sidecar = reference.models.uint8;
  const other = (fields) => file("uint8.json", JSON.stringify({ ...sidecar, ...fields }));
  const short = content.subarray(0, 3000);
  const flipped = content.map((byte, i) => (i === 2000 ? byte ^ 1 : byte));
  const digest = createHash("sha256").update(short).digest("hex");
  const length = content.length.toLocaleString("en");
  const about = "uint8.tflite is not the file that uint8.json describes:";
  const cases = [
    [[file("uint8.tflite", short), json], `${about} it is 3,000 bytes long instead of ${length}.`],
    [[file("uint8.tflite", flipped), json], `${about} its checksum (SHA-256) differs.`],
    [
      [file("uint8.tflite", short), other({ size_bytes: 3000, sha256: digest })],
      "LiteRT.js cannot run uint8: Failed to load model from buffer",
    ],
    [
      [tflite, file("uint8.json", '{"name": "a package"}')],
      "uint8.json does not describe a model: its format is not hwkeras-bundle-1.",
    ],
    [[tflite, file("uint8.json", "{")], "uint8.json is not JSON, or was cut off."],
    [[tflite, other({ labels: [1] })], "uint8.json is broken: its field “labels” makes no sense."],
    [[tflite], "A bundle is two files: open uint8.tflite and uint8.json together."],
    [
      bundle("int8"),
      "int8 has int8 input or output, which LiteRT.js does not take. It runs in the Android app;" +
        " for the browser, export it with --io float32.",
    ],
    [bundle("dynamic"), "dynamic has no fixed batch of one picture, which LiteRT.js needs."],
  ];
  for (const [files, expected] of cases) {
    assert.equal(await saysOnDrop(files), expected);
    assert.deepEqual(Object.keys(await rows()), shipped());
    await drop([picture("grey.png")]);
    await page.waitForSelector("#message", { state: "hidden" });
  }
});

test("everything can be done by keyboard", { skip }, async () => {
  const chooser = page.waitForEvent("filechooser");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const second = page.locator("#samples button").nth(1);
  await page.waitForFunction(
    () => document.querySelectorAll("#samples button")[1].ariaPressed === "true",
  );
  assert.ok(await second.evaluate((button) => button === document.activeElement));
  await page.locator("#rows input").first().focus();
  await page.keyboard.press("ArrowDown");
  assert.equal(await text("#answer-model"), `of ${shipped()[1]}`);
  await page.keyboard.press("ArrowUp");
  assert.equal(await text("#answer-model"), `of ${shipped()[0]}`);
  await page.getByLabel("Choose a picture").focus();
  await page.keyboard.press("Enter");
  await (await chooser).setFiles(reference.pictures["grey.png"]);
  await holds("#caption", "grey.png");
});

for (const [name, options] of Object.entries({
  desktop: { colorScheme: "light", viewport: { width: 1000, height: 760 } },
  phone: { colorScheme: "dark", ...PHONE },
})) {
  test(`axe finds nothing: ${name}, ${options.colorScheme}`, { skip }, async () => {
    page = await openPage(options);
    await measured();
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => window.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
    assert.deepEqual(found, []);
    if (process.env.SCREENSHOTS) {
      await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });
    }
  });
}

test("a phone scrolls up and down only, and may take a picture", { skip }, async () => {
  page = await openPage(PHONE);
  await drop(bundle("uint8"));
  await holds("#rows", "uint8");
  for (const width of [360, 320]) {
    await page.setViewportSize({ width, height: 740 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(wide, width);
    const cut = await page.$$eval(
      "section",
      (sections) => sections.filter((section) => section.scrollWidth > section.clientWidth).length,
    );
    assert.equal(cut, 0);
  }
  const take = page.getByLabel("Take one");
  assert.ok(await page.locator(".touch").isVisible());
  assert.equal(await take.getAttribute("capture"), "environment");
});

test("over plain http it runs, and says what it cannot do", { skip }, async () => {
  await page.goto(address.replace("localhost", "plain.test"));
  await page.waitForSelector("#answers li");
  await holds("#offline", "no copy for offline use and cannot compare checksums");
  assert.deepEqual(Object.keys(await rows()), shipped());
});

test("no other server is asked, and nothing went wrong unseen", { skip }, async () => {
  assert.deepEqual(
    requests.filter((url) => !/^(http:\/\/(localhost|plain\.test):\d+\/|blob:)/.test(url)),
    [],
  );
  assert.deepEqual(problems, []);
});

test("it works without a network once loaded", { skip }, async () => {
  await holds("#offline", "Works offline");
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await page.reload();
  await page.waitForSelector("#answers li");
  assert.deepEqual(Object.keys(await rows()), shipped());
  await page.locator("#samples button").last().click();
  await page.waitForFunction(
    () => document.querySelector("#samples button:last-child").ariaPressed === "true",
  );
});
