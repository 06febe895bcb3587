/** Numbers as text, as the reports write them. */

const SPACE = "\u00a0"; // a unit stays with its number

export function bytes(count) {
  const [unit, size] = count < 2 ** 20 ? ["KiB", 2 ** 10] : ["MiB", 2 ** 20];
  return digits(count / size) + SPACE + unit;
}

export function percent(share, decimals = 1) {
  return share === null ? "–" : (100 * share).toFixed(decimals) + SPACE + "%";
}

export function milliseconds(value) {
  return value === null ? "–" : digits(value) + SPACE + "ms";
}

/** Returns how many times less `after` is, or nothing where that says nothing. */
export function times(before, after) {
  return before && after && before !== after ? `${digits(before / after)}×` : "";
}

/** Returns three significant digits, and no power of ten. */
function digits(value) {
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}
