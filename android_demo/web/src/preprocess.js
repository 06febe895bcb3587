/**
 * A picture as a model sees it: byte for byte what `hwkeras.load_image` makes of it, so that the
 * accuracy in the browser is the accuracy in the report. ../../vectors/preprocess.json holds both
 * to it; the arithmetic is Pillow's.
 */

const PRECISION_BITS = 22;
const HALF = 1 << (PRECISION_BITS - 1);

/**
 * Returns the bytes of `[height, width, channels]`, channels 1 or 3.
 *
 * @param {{width: number, height: number, data: ArrayLike<number>}} picture RGBA, as ImageData is
 * @param {number[]} shape
 * @returns {Uint8Array}
 */
export function preprocess(picture, [height, width, channels]) {
  const rgb = onWhite(picture.data);
  const rows = resample(rgb, picture.height, picture.width, width, 3);
  const resized = resample(rows, 1, picture.height, height, width * 3);
  return channels === 1 ? toGrey(resized) : resized;
}

function onWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3];
    for (let band = 0; band < 3; band++) {
      const sum = (rgba[from + band] * alpha + 255 * (255 - alpha) + 128) << 7;
      rgb[to++] = ((sum >> 8) + sum) >> 15; // the sum / 255, in integers
    }
  }
  return rgb;
}

/**
 * Returns `[outer][size][inner]` as `[outer][outSize][inner]`: one axis, by a triangle filter that
 * is widened for downscaling, rounded to bytes.
 */
function resample(pixels, outer, size, outSize, inner) {
  if (size === outSize) return pixels;
  const out = new Uint8Array(outer * outSize * inner);
  const filters = triangles(size, outSize);
  for (let block = 0, to = 0; block < outer; block++) {
    for (const { first, weights } of filters) {
      const from = (block * size + first) * inner;
      for (let i = 0; i < inner; i++) {
        let sum = HALF;
        for (let k = 0; k < weights.length; k++) sum += pixels[from + k * inner + i] * weights[k];
        out[to++] = sum >> PRECISION_BITS; // never over 255: weights are positive and sum to 1
      }
    }
  }
  return out;
}

/** Returns, for each place of the output, where its weights start in the input, and the weights. */
function triangles(size, outSize) {
  const scale = size / outSize;
  const reach = Math.max(scale, 1);
  return Array.from({ length: outSize }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(center - reach + 0.5), 0);
    const end = Math.min(Math.trunc(center + reach + 0.5), size);
    const weights = [];
    for (let x = first; x < end; x++) {
      weights.push(Math.max(1 - Math.abs((x - center + 0.5) * (1 / reach)), 0));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const fixed = weights.map((weight) => Math.trunc(0.5 + (weight / total) * 2 ** PRECISION_BITS));
    return { first, weights: fixed };
  });
}

/** Returns ITU-R 601 luma, in 16-bit fixed point. */
function toGrey(rgb) {
  const grey = new Uint8Array(rgb.length / 3);
  for (let i = 0; i < grey.length; i++) {
    const luma = rgb[3 * i] * 19595 + rgb[3 * i + 1] * 38470 + rgb[3 * i + 2] * 7471;
    grey[i] = (luma + 0x8000) >> 16;
  }
  return grey;
}
