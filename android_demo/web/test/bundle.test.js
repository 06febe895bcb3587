import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { BundleError, checkContent, checkRunnable, parseSidecar } from "../src/bundle.js";
import { areBundles, pairFiles } from "../src/folder.js";

const CONTENT = new TextEncoder().encode("a model's bytes");
const SIDECAR = {
  format: "hwkeras-bundle-1",
  name: "birds",
  labels: ["Amsel", "Spätzle"],
  input: { dtype: "uint8", shape: [1, 32, 32, 3], scale: 1, zero_point: 0, range: [0, 255] },
  output: { dtype: "float32", shape: [1, 2], scale: null, zero_point: null },
  accuracy: 0.75,
  accuracy_images: 4,
  size_bytes: 15,
  gzip_bytes: 35,
  sha256: createHash("sha256").update(CONTENT).digest("hex"),
};
const parse = (fields) => parseSidecar("mine", JSON.stringify({ ...SIDECAR, ...fields }));
const sentence = (message) => (error) => error instanceof BundleError && error.message === message;

test("a bundle is named as its files are", () => {
  assert.deepEqual(parse({}), { ...SIDECAR, name: "mine" });
  assert.equal(parse({ accuracy: null, accuracy_images: 0 }).accuracy, null);
});

for (const [field, value] of [
  ["labels", "ab"],
  ["labels", [1, 2]],
  ["input", null],
  ["input", { ...SIDECAR.input, shape: [1, "x"] }],
  ["input", { ...SIDECAR.input, scale: null }],
  ["output", { shape: [1, 2] }],
  ["accuracy", "98%"],
  ["accuracy", 98],
  ["accuracy_images", -1],
  ["size_bytes", undefined],
  ["gzip_bytes", 0.5],
  ["sha256", "abc"],
]) {
  test(`refuses ${field}: ${JSON.stringify(value)}`, () => {
    const expected = `mine.json is broken: its field “${field}” makes no sense.`;
    assert.throws(() => parse({ [field]: value }), sentence(expected));
  });
}

test("refuses what is no sidecar", () => {
  const refuses = (text, message) =>
    assert.throws(() => parseSidecar("mine", text), sentence(`mine.json ${message}`));
  refuses("{", "is not JSON, or was cut off.");
  for (const text of ["null", "3", "[]", '{"format": "hwkeras-plan-1"}']) {
    refuses(text, "does not describe a model: its format is not hwkeras-bundle-1.");
  }
  const one = { labels: ["a"] };
  const expected = "mine.json is broken: it does not have one label for each class.";
  assert.throws(() => parse(one), sentence(expected));
});

test("tells another file by its size, or its checksum", async () => {
  const about = "mine.tflite is not the file that mine.json describes";
  await checkContent(parse({}), CONTENT);
  await assert.rejects(
    checkContent(parse({}), CONTENT.slice(1)),
    sentence(`${about}: it is 14 bytes long instead of 15.`),
  );
  await assert.rejects(
    checkContent(parse({}), CONTENT.toReversed()),
    sentence(`${about}: its checksum (SHA-256) differs.`),
  );
});

test("says what cannot run here", () => {
  const refuses = (side, fields, message) => {
    const sidecar = parse({ [side]: { ...SIDECAR[side], ...fields } });
    assert.throws(() => checkRunnable(sidecar), sentence(`mine ${message}`));
  };
  checkRunnable(parse({}));
  const io = "input or output, which LiteRT.js does not take. It runs in the Android app; for the";
  const int8 = { dtype: "int8", scale: 1, zero_point: 0 };
  refuses("input", int8, `has int8 ${io} browser, export it with --io float32.`);
  refuses("output", int8, `has int8 ${io} browser, export it with --io float32.`);
  const batch = "has no fixed batch of one picture, which LiteRT.js needs.";
  refuses("input", { shape: [-1, 32, 32, 3] }, batch);
  const table = "takes no pictures, so this page has nothing to show it.";
  refuses("input", { shape: [1, 6], range: null }, table);
  refuses("input", { shape: [1, 32, 32, 4] }, table);
});

test("opened files are paired by name", async () => {
  const file = (name, content) => new File([content], name);
  const files = [
    file("mine.json", JSON.stringify(SIDECAR)),
    file("mine.tflite", CONTENT),
    file("other.tflite", ""),
    file("cat.png", ""),
  ];
  assert.ok(areBundles(files));
  assert.ok(!areBundles([files[3]]));
  const [mine, other, cat] = await Promise.allSettled(pairFiles(files));
  assert.equal(mine.value.sidecar.name, "mine");
  assert.deepEqual(mine.value.content, CONTENT);
  const message = "A bundle is two files: open other.tflite and other.json together.";
  assert.ok(sentence(message)(other.reason));
  assert.ok(cat.reason instanceof BundleError);
});
