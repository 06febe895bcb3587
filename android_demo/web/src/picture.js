/** From a file to pixels, as the file has them: upright, no colour profile applied. */

/** Returns a picture's ImageData, RGBA, or throws an Error whose message is a sentence. */
export async function readPicture(file, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Error(`${name} is not a picture that this browser can read.`);
  }
  try {
    const { width, height } = bitmap;
    // A canvas keeps colours times alpha, in bytes: where a picture is half transparent, what comes
    // back may be off by a rounding. Opaque and wholly transparent pixels come back exactly.
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  } catch {
    throw new Error(`${name} is too large for this browser.`);
  } finally {
    bitmap.close();
  }
}
