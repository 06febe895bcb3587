import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, milliseconds, percent, times } from "../src/format.js";
import { softmax, top } from "../src/scores.js";
import { real, store } from "../src/tensors.js";
import { latencies } from "../src/timing.js";

test("sizes, shares and times are three digits and a unit", () => {
  const plain = (text) => text.replaceAll("\u00a0", " ");
  assert.equal(plain(bytes(53522)), "52.3 KiB");
  assert.equal(plain(bytes(1023 * 1024)), "1023 KiB");
  assert.equal(plain(bytes(1050706)), "1.00 MiB");
  assert.equal(plain(percent(0.98885, 2)), "98.89 %");
  assert.equal(percent(null), "–");
  assert.equal(plain(milliseconds(0.0988)), "0.0988 ms");
  assert.equal(milliseconds(null), "–");
  assert.equal(times(1050706, 53522), "19.6×");
  assert.equal(times(5, 5), ""); // the first model is not compared with itself
  assert.equal(times(5, null), "");
});

test("probabilities sum to one, also of large logits", () => {
  const [one, two] = softmax([1000, 1000 - Math.log(3)]);
  assert.ok(Math.abs(one - 0.75) < 1e-12 && Math.abs(two - 0.25) < 1e-12);
  const [most, ...rest] = top([0, 9, 3, 5], ["a", "b", "c", "d"]);
  assert.equal(most.label, "b");
  assert.deepEqual(
    rest.map(({ label }) => label),
    ["d", "c"],
  );
  assert.equal(top([1, 2], ["a", "b"]).length, 2);
});

test("a uint8 input rounds half to even and clips, as NumPy does", () => {
  const spec = { dtype: "uint8", scale: 2, zero_point: 3 };
  assert.deepEqual([...store([0, 1, 3, 5, 255], spec)], [3, 3, 5, 5, 131]);
  assert.deepEqual([...store([0, 255], { dtype: "uint8", scale: 0.5, zero_point: 9 })], [9, 255]);
  assert.deepEqual([...real([3, 4, 1], spec)], [0, 2, -4]);
  const plain = { dtype: "float32", scale: null, zero_point: null };
  assert.deepEqual(store([0, 255], plain), new Float32Array([0, 255]));
  assert.deepEqual(real([0.5], plain), new Float32Array([0.5]));
});

test("latencies are medians of turns, by a clock that is coarse", async () => {
  let elapsed = 0;
  const order = [];
  const costs = { slow: [31, 29, 30, 90, 30], fast: [0.25] };
  const task = (name) => {
    let runs = 0;
    return async () => {
      order.push(name);
      elapsed += costs[name][runs++ % costs[name].length];
    };
  };
  const rounds = [];
  const found = await latencies([task("slow"), task("fast")], {
    rounds: 10,
    now: () => Math.floor(elapsed), // whole milliseconds
    progress: (round) => rounds.push(round),
  });
  assert.equal(found[0], 30); // not the mean, 42
  assert.ok(Math.abs(found[1] - 0.25) < 0.01);
  assert.deepEqual(rounds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const turns = order.slice(order.lastIndexOf("slow", order.indexOf("fast")) + 1);
  const changes = turns.filter((name, i) => name !== turns[i - 1]);
  assert.equal(changes.length, 1 + 2 * 10); // warming up, then slow and fast in turns
});
