/** Serves dist/ on localhost: `node serve.js [PORT]`. */

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = join(import.meta.dirname, "dist");
const TYPES = {
  ".html": "text/html",
  ".css": "text/css",
  ".js": "text/javascript",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** Returns a server of the page that listens on localhost; port 0 takes any that is free. */
export function serve(port) {
  const server = createServer((request, response) => {
    const file = locate(request.url);
    const found = statSync(file, { throwIfNoEntry: false })?.isFile();
    response.writeHead(found ? 200 : 404, {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Cache-Control": "no-cache",
    });
    if (found) createReadStream(file).pipe(response);
    else response.end();
  });
  return new Promise((resolve) => server.listen(port, "localhost", () => resolve(server)));
}

function locate(url) {
  try {
    const path = decodeURIComponent(new URL(url, "http://localhost").pathname);
    return join(DIST, normalize(path.endsWith("/") ? `${path}index.html` : path));
  } catch {
    return ""; // no address at all
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve(Number(process.argv[2] ?? 8000));
  console.log(`http://localhost:${server.address().port}/`);
}
