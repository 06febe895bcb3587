package io.hwkeras.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import io.hwkeras.demo.core.Picture
import io.hwkeras.demo.core.Pixels
import java.io.IOException
import java.io.InputStream

/** More are read at half, a quarter, ... of their size: a bitmap takes four bytes a pixel. */
private const val MOST_PIXELS = 24_000_000L

/**
 * Returns the picture in a stream, which is opened for each pass.
 *
 * @throws IOException if it is no picture that this phone can read
 */
fun decode(open: () -> InputStream): Picture {
    val orientation = orientation(open)
    val options = BitmapFactory.Options()
    options.inJustDecodeBounds = true
    open().use { BitmapFactory.decodeStream(it, null, options) }
    options.inSampleSize = 1
    var pixels = options.outWidth.toLong() * options.outHeight
    while (pixels > MOST_PIXELS) {
        options.inSampleSize *= 2
        pixels /= 4
    }
    options.inJustDecodeBounds = false
    options.inPremultiplied = false // colours as in the file, however transparent
    val bitmap = open().use { BitmapFactory.decodeStream(it, null, options) }
        ?: throw IOException("not a picture")
    return Picture(BitmapPixels(bitmap), orientation)
}

/** A photo whose Exif this phone trips over is shown as it lies in the file. */
private fun orientation(open: () -> InputStream): Int = try {
    open().use { ExifInterface(it) }
        .getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)
} catch (_: RuntimeException) {
    ExifInterface.ORIENTATION_NORMAL
} catch (_: StackOverflowError) { // older Androids follow Exif that points at itself
    ExifInterface.ORIENTATION_NORMAL
}

private class BitmapPixels(private val bitmap: Bitmap) : Pixels {
    override val width = bitmap.width
    override val height = bitmap.height

    override fun row(y: Int, into: IntArray) = bitmap.getPixels(into, 0, width, 0, y, width, 1)

    override fun column(x: Int, into: IntArray) = bitmap.getPixels(into, 0, 1, x, 0, 1, height)
}
