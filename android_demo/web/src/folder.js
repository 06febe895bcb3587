/** Where bundles come from: a folder of `hwkeras bundle`, or files that someone opens. */

import { BundleError, parseSidecar } from "./bundle.js";

const INDEX = "bundles.json";
const FORMAT = "hwkeras-bundles-1";

/** Returns the names of the models and the samples, `{url, label}`, of the folder at a URL. */
export async function readIndex(folder) {
  const url = new URL(INDEX, folder);
  const index = await (await get(url)).json().catch(() => null);
  if (index?.format !== FORMAT || !Array.isArray(index.models) || !Array.isArray(index.samples)) {
    throw new BundleError(`${INDEX} is no index of bundles.`);
  }
  const samples = index.samples.map(({ file, label }) => ({ url: new URL(file, folder), label }));
  return { models: index.models, samples };
}

/** Returns one bundle of the folder: `{sidecar, content}`. */
export async function readBundle(folder, name) {
  const place = (ending) => new URL(encodeURIComponent(name + ending), folder);
  const [text, content] = await Promise.all([
    get(place(".json")).then((response) => response.text()),
    get(place(".tflite")).then((response) => response.arrayBuffer()),
  ]);
  return { sidecar: parseSidecar(name, text), content: new Uint8Array(content) };
}

/** Returns whether files are meant as bundles, not as a picture. */
export const areBundles = (files) => files.some(({ name }) => /\.(tflite|json)$/i.test(name));

/** Returns, for each name among opened files, a promise of `{sidecar, content}`. */
export function pairFiles(files) {
  const byName = new Map(files.map((file) => [file.name, file]));
  const names = new Set(files.map(({ name }) => name.replace(/\.[^.]*$/, "")));
  return Array.from(names, async (name) => {
    const [json, tflite] = [byName.get(`${name}.json`), byName.get(`${name}.tflite`)];
    if (!json || !tflite) {
      throw new BundleError(
        `A bundle is two files: open ${name}.tflite and ${name}.json together.`,
      );
    }
    const sidecar = parseSidecar(name, await json.text());
    return { sidecar, content: new Uint8Array(await tflite.arrayBuffer()) };
  });
}

async function get(url) {
  const name = decodeURIComponent(url.pathname.split("/").at(-1));
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new BundleError(`${name} cannot be fetched.`);
  return response;
}
