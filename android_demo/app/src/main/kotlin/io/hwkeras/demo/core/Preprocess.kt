package io.hwkeras.demo.core

import kotlin.math.ceil

/** A decoded picture as its file stores it: packed ARGB, colours not multiplied by alpha. */
interface Pixels {
    val width: Int
    val height: Int

    fun row(y: Int, into: IntArray)

    fun column(x: Int, into: IntArray)
}

/**
 * A decoded picture, turned upright.
 *
 * It is read row by row: a photo of 12 megapixels is never held a second time.
 *
 * @param orientation as Exif numbers it: 1 upright, 2 to 8 mirrored or turned
 */
class Picture(private val pixels: Pixels, private val orientation: Int = 1) {
    private val turned = orientation in 5..8 // its rows are the file's columns

    val width = if (turned) pixels.height else pixels.width
    val height = if (turned) pixels.width else pixels.height

    fun row(y: Int, into: IntArray) {
        val line = if (orientation in FROM_THE_END) height - 1 - y else y
        if (turned) pixels.column(line, into) else pixels.row(line, into)
        if (orientation in BACKWARDS) into.reverse(0, width)
    }

    private companion object {
        val FROM_THE_END = setOf(3, 4, 7, 8)
        val BACKWARDS = setOf(2, 3, 6, 7)
    }
}

/** An upright opaque picture, ready to show: packed ARGB, row by row. */
class Raster(val width: Int, val height: Int, val argb: IntArray)

/**
 * From a picture to what a model is given, to the last bit as hwkeras does it in Python, where
 * Pillow does the arithmetic: on white where transparent, resized with its antialiasing BILINEAR
 * filter in 8-bit fixed point, and made grey last.
 */
object Preprocess {
    private const val BITS = 22 // of a weight's fraction: 32 less 8 for a pixel, 2 for overflow
    private const val HALF = 1 shl (BITS - 1)

    /** Returns uint8 `height x width x channels`; `channels` is 1 or 3. */
    fun pixels(picture: Picture, height: Int, width: Int, channels: Int): ByteArray {
        val rgb = resized(picture, width, height).argb
        if (channels == 1) return ByteArray(rgb.size) { grey(rgb[it]).toByte() }
        return ByteArray(rgb.size * 3) { (rgb[it / 3] shr (16 - 8 * (it % 3))).toByte() }
    }

    /** Returns the picture with neither side over `side`, never enlarged. */
    fun preview(picture: Picture, side: Int): Raster {
        val ratio = side.toDouble() / maxOf(picture.width, picture.height, side)
        val width = (picture.width * ratio).toInt().coerceAtLeast(1)
        val height = (picture.height * ratio).toInt().coerceAtLeast(1)
        return resized(picture, width, height)
    }

    /** Returns what [pixels] gave, ready to show. */
    fun raster(pixels: ByteArray, height: Int, width: Int, channels: Int) =
        Raster(width, height, IntArray(height * width) { place ->
            val values = IntArray(3) { pixels[place * channels + it % channels].toInt() and 0xff }
            opaque(values[0], values[1], values[2])
        })

    private fun resized(picture: Picture, width: Int, height: Int): Raster {
        val across = Kernel(picture.width, width)
        val down = Kernel(picture.height, height)
        val row = IntArray(picture.width)
        val narrow = IntArray(picture.height * width)
        for (y in 0 until picture.height) {
            picture.row(y, row)
            for (x in row.indices) row[x] = onWhite(row[x])
            for (x in 0 until width) narrow[y * width + x] = across.sum(x) { row[it] }
        }
        val argb = IntArray(height * width) {
            val x = it % width
            down.sum(it / width) { y -> narrow[y * width + x] }
        }
        return Raster(width, height, argb)
    }

    /** For each place of the output, the run of inputs that it is a weighted sum of. */
    private class Kernel(inputs: Int, outputs: Int) {
        private val first = IntArray(outputs)
        private val weights: Array<IntArray>

        init {
            val scale = inputs.toDouble() / outputs
            val support = scale.coerceAtLeast(1.0) // wide where it shrinks: antialiasing
            weights = Array(outputs) { place ->
                val center = (place + 0.5) * scale
                first[place] = (center - support + 0.5).toInt().coerceAtLeast(0)
                val end = (center + support + 0.5).toInt().coerceAtMost(inputs)
                val shares = DoubleArray(end - first[place]) {
                    val distance = (it + first[place] - center + 0.5) * (1.0 / support)
                    (1.0 - Math.abs(distance)).coerceAtLeast(0.0)
                }
                val sum = shares.sum()
                IntArray(shares.size) { (0.5 + shares[it] / sum * (1 shl BITS)).toInt() }
            }
        }

        inline fun sum(place: Int, pixel: (Int) -> Int): Int {
            var red = HALF
            var green = HALF
            var blue = HALF
            val start = first[place]
            val factors = weights[place]
            for (i in factors.indices) {
                val value = pixel(start + i)
                red += (value shr 16 and 0xff) * factors[i]
                green += (value shr 8 and 0xff) * factors[i]
                blue += (value and 0xff) * factors[i]
            }
            return opaque(clipped(red), clipped(green), clipped(blue))
        }

        private fun clipped(sum: Int) = (sum shr BITS).coerceIn(0, 255)
    }

    private fun onWhite(argb: Int): Int {
        val alpha = argb ushr 24
        if (alpha == 255) return argb
        return opaque(
            onWhite(argb shr 16 and 0xff, alpha),
            onWhite(argb shr 8 and 0xff, alpha),
            onWhite(argb and 0xff, alpha),
        )
    }

    private fun onWhite(value: Int, alpha: Int): Int {
        val sum = (value * alpha + 255 * (255 - alpha) shl 7) + (0x80 shl 7) // Pillow's 7 more bits
        return (sum shr 8) + sum shr 8 shr 7
    }

    private fun grey(rgb: Int): Int =
        (rgb shr 16 and 0xff) * 19595 + (rgb shr 8 and 0xff) * 38470 + (rgb and 0xff) * 7471 +
            0x8000 shr 16

    private fun opaque(red: Int, green: Int, blue: Int) =
        (0xff shl 24) or (red shl 16) or (green shl 8) or blue
}
