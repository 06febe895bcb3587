/** Between real values and what a tensor holds: real = scale * (stored - zero point). */

/** Returns pixels as the input stores them. */
export function store(pixels, { dtype, scale, zero_point }) {
  if (dtype === "float32") return Float32Array.from(pixels);
  return Uint8Array.from(pixels, (value) => {
    const stored = roundHalfEven(Math.fround(value / Math.fround(scale))) + zero_point;
    return Math.min(Math.max(stored, 0), 255);
  });
}

/** Returns what the output holds as real values. */
export function real(stored, { dtype, scale, zero_point }) {
  if (dtype === "float32") return Float32Array.from(stored);
  return Float32Array.from(stored, (value) => Math.fround(scale) * (value - zero_point));
}

function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
