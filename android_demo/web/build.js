/**
 * Puts the page, LiteRT.js and the bundles into dist/: static files, for any server.
 *
 * BUNDLES names the folder that `hwkeras bundle` wrote, from where `npm` was called; by default the
 * Android app's.
 */

import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { resolve } from "node:path";

const HERE = import.meta.dirname;
const DIST = resolve(HERE, "dist");
const LITERT = resolve(HERE, "node_modules/@litertjs");
const CALLED_FROM = process.env.INIT_CWD ?? ""; // npm runs this in HERE
const APP = resolve(HERE, "../app/src/main/assets");
const BUNDLES = resolve(CALLED_FROM, process.env.BUNDLES ?? APP);
const WASM = ["litert_wasm_internal", "litert_wasm_compat_internal"]; // with relaxed SIMD, without

if (!existsSync(resolve(BUNDLES, "bundles.json"))) {
  console.error(`${BUNDLES}: no bundles here; hwkeras bundle FILE... -o FOLDER makes them, and`);
  console.error("BUNDLES=FOLDER npm run build takes them from there");
  process.exit(1);
}

rmSync(DIST, { recursive: true, force: true });
mkdirSync(DIST);
for (const name of ["index.html", "style.css", "icon.svg", "sw.js", "src"]) {
  cpSync(resolve(HERE, name), resolve(DIST, name), { recursive: true });
}
cpSync(`${LITERT}/core/dist/index.js`, `${DIST}/litert/core.js`);
cpSync(`${LITERT}/wasm-utils/dist/index.js`, `${DIST}/litert/wasm-utils.js`);
for (const file of WASM.flatMap((name) => [`${name}.js`, `${name}.wasm`])) {
  cpSync(`${LITERT}/core/wasm/${file}`, `${DIST}/litert/wasm/${file}`);
}
cpSync(resolve(HERE, "../../LICENSE"), `${DIST}/litert/LICENSE`); // it ships without its text
cpSync(BUNDLES, `${DIST}/assets`, { recursive: true });
