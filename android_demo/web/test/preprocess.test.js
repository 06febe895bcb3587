import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { preprocess } from "../src/preprocess.js";

const VECTORS = new URL("../../vectors/preprocess.json", import.meta.url);
const { format, cases } = JSON.parse(readFileSync(VECTORS, "utf8"));

/** Returns pixels of any mode as a browser hands them out. */
function asRgba(mode, pixels) {
  const bands = { L: 1, LA: 2, RGB: 3, RGBA: 4 }[mode];
  const rgba = [];
  for (let i = 0; i < pixels.length; i += bands) {
    const [first, second, third, fourth] = pixels.subarray(i, i + bands);
    const colour = bands < 3 ? [first, first, first] : [first, second, third];
    rgba.push(...colour, { L: 255, LA: second, RGB: 255, RGBA: fourth }[mode]);
  }
  return rgba;
}

test("the vectors are there", () => {
  assert.equal(format, "hwkeras-preprocess-1");
  assert.ok(cases.length > 20);
});

for (const { name, mode, width, height, pixels, expected, ...out } of cases) {
  test(name, () => {
    const picture = { width, height, data: asRgba(mode, Buffer.from(pixels, "base64")) };
    const made = preprocess(picture, [out.out_height, out.out_width, out.channels]);
    assert.deepEqual([...made], [...Buffer.from(expected, "base64")]);
  });
}
