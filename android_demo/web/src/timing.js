/** How long something takes, compared fairly and by a coarse clock. */

const WARMUP = 5;
const LEAST_MS = 10; // browsers round their clock to 0.1 ms, some to 1 ms

/**
 * Returns the median milliseconds of each task, which take turns: a change of the machine's speed
 * hits all of them alike. A task that is over before the clock moves is repeated within a turn.
 *
 * @param {(() => Promise<unknown>)[]} tasks
 * @param {object} options
 * @param {number} [options.rounds] turns that count
 * @param {(done: number) => unknown} [options.progress] awaited after each
 * @param {() => number} [options.now] milliseconds
 */
export async function latencies(tasks, options = {}) {
  const { rounds = 50, progress = () => {}, now = () => performance.now() } = options;
  const repeats = [];
  for (const task of tasks) repeats.push(await enough(task, now));
  const taken = tasks.map(() => []);
  for (let round = 1; round <= rounds; round++) {
    for (const [i, task] of tasks.entries()) {
      taken[i].push((await time(task, repeats[i], now)) / repeats[i]);
    }
    await progress(round);
  }
  return taken.map(median);
}

/** Returns how often to repeat a task for the clock to tell; the runs on the way warm it up. */
async function enough(task, now) {
  await time(task, WARMUP, now);
  let repeats = 1;
  while (repeats < 1024 && (await time(task, repeats, now)) < LEAST_MS) repeats *= 2;
  return repeats;
}

async function time(task, repeats, now) {
  const start = now();
  for (let i = 0; i < repeats; i++) await task();
  return now() - start;
}

function median(values) {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}
