/** A copy of the page for when there is no network. */

/** Returns a sentence about whether the page will open again without a network. */
export async function keepForOffline() {
  if (!isSecureContext) {
    return (
      "This page came over plain http, so the browser keeps no copy for offline use and cannot" +
      " compare checksums. Over https, or from localhost, it does both."
    );
  }
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    const images = Array.from(document.images, ({ src }) => src); // some may be on their way
    const cache = await caches.open("hwkeras");
    // What was loaded before the service worker took over has not passed through it.
    const missing = [];
    for (const url of new Set([document.baseURI, ...loaded, ...images])) {
      if (!(await cache.match(url))) missing.push(url);
    }
    await Promise.all(
      missing.map(async (url) => {
        const response = await fetch(url);
        if (response.ok) await cache.put(url, response); // what is not there has had its sentence
      }),
    );
    return "Works offline from now on.";
  } catch {
    return "The browser keeps no copy for offline use.";
  }
}
