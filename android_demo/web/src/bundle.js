/** A bundle: a .tflite and the JSON beside it, as `hwkeras export` writes them. */

const FORMAT = "hwkeras-bundle-1";
const RUNNABLE = ["float32", "uint8"];

/** A sentence for the person who opened the file. */
export class BundleError extends Error {}

/**
 * Returns what the JSON says, its fields checked.
 *
 * @param {string} name of the bundle's files, without their endings
 * @param {string} text
 */
export function parseSidecar(name, text) {
  const file = `${name}.json`;
  let sidecar;
  try {
    sidecar = JSON.parse(text);
  } catch {
    throw new BundleError(`${file} is not JSON, or was cut off.`);
  }
  if (sidecar?.format !== FORMAT) {
    throw new BundleError(`${file} does not describe a model: its format is not ${FORMAT}.`);
  }
  const wrong = Object.keys(FIELDS).find((field) => !FIELDS[field](sidecar[field]));
  if (wrong) throw new BundleError(`${file} is broken: its field “${wrong}” makes no sense.`);
  if (sidecar.labels.length !== sidecar.output.shape.at(-1)) {
    throw new BundleError(`${file} is broken: it does not have one label for each class.`);
  }
  return { ...sidecar, name };
}

/** Throws unless these are the bytes that the JSON describes. */
export async function checkContent(sidecar, content) {
  const files = `${sidecar.name}.tflite is not the file that ${sidecar.name}.json describes`;
  if (content.length !== sidecar.size_bytes) {
    const sizes = `${content.length.toLocaleString("en")} bytes long instead of`;
    throw new BundleError(`${files}: it is ${sizes} ${sidecar.size_bytes.toLocaleString("en")}.`);
  }
  if (!globalThis.crypto?.subtle) return; // a page over plain http; it says so
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== sidecar.sha256) throw new BundleError(`${files}: its checksum (SHA-256) differs.`);
}

/** Throws a sentence about what this page or LiteRT.js cannot run. */
export function checkRunnable({ name, input, output }) {
  const [batch, , , channels] = input.shape;
  if (input.shape.length !== 4 || ![1, 3].includes(channels) || `${input.range}` !== "0,255") {
    throw new BundleError(`${name} takes no pictures, so this page has nothing to show it.`);
  }
  if (batch !== 1) {
    throw new BundleError(`${name} has no fixed batch of one picture, which LiteRT.js needs.`);
  }
  const refused = [input, output].find(({ dtype }) => !RUNNABLE.includes(dtype));
  if (refused) {
    throw new BundleError(
      `${name} has ${refused.dtype} input or output, which LiteRT.js does not take. It runs in the` +
        " Android app; for the browser, export it with --io float32.",
    );
  }
}

const isCount = (value) => Number.isInteger(value) && value >= 0;
const isShare = (value) => value === null || (value >= 0 && value <= 1);
const isTensor = (value) =>
  typeof value?.dtype === "string" &&
  Array.isArray(value.shape) &&
  value.shape.every(Number.isInteger) &&
  (value.dtype === "float32" || (value.scale > 0 && Number.isInteger(value.zero_point)));

const FIELDS = {
  labels: (value) => Array.isArray(value) && value.every((label) => typeof label === "string"),
  input: isTensor,
  output: isTensor,
  accuracy: isShare,
  accuracy_images: isCount,
  size_bytes: isCount,
  gzip_bytes: isCount,
  sha256: (value) => /^[0-9a-f]{64}$/.test(value),
};
