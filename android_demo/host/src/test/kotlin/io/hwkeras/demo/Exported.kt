package io.hwkeras.demo

import io.hwkeras.demo.core.ModelBundle
import io.hwkeras.demo.core.Picture
import io.hwkeras.demo.core.Pixels
import java.awt.image.BufferedImage
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.Base64
import javax.imageio.ImageIO
import org.json.JSONArray
import org.json.JSONObject

/** What export_models.py wrote in this run. */
object Exported {
    val folder = File(System.getProperty("exported"))
    val expected = JSONObject(folder.resolve("expected.json").readText())

    fun model(name: String) = folder.resolve("$name.tflite")

    fun sidecar(name: String) = folder.resolve("$name.json")

    fun bundle(name: String) = ModelBundle.read(model(name), sidecar(name))

    fun bytes(text: String): ByteArray = Base64.getDecoder().decode(text)

    fun floats(array: JSONArray) = FloatArray(array.length()) { array.getDouble(it).toFloat() }
}

/** Stands in for Android's decoder: the pixels of a file, unchanged and not turned. */
class ImagePixels(private val image: BufferedImage) : Pixels {
    override val width = image.width
    override val height = image.height

    // getRGB takes grey for linear light and brightens it, which Android does not.
    private val grey = image.colorModel.numColorComponents == 1

    override fun row(y: Int, into: IntArray) {
        for (x in 0 until width) into[x] = argb(x, y)
    }

    override fun column(x: Int, into: IntArray) {
        for (y in 0 until height) into[y] = argb(x, y)
    }

    private fun argb(x: Int, y: Int): Int {
        if (!grey) return image.getRGB(x, y)
        val value = image.raster.getSample(x, y, 0)
        val alpha = if (image.colorModel.hasAlpha()) image.raster.getSample(x, y, 1) else 255
        return (alpha shl 24) or (value shl 16) or (value shl 8) or value
    }
}

fun decodeImage(open: () -> InputStream): Picture {
    val image = open().use(ImageIO::read) ?: throw IOException("not a picture")
    return Picture(ImagePixels(image))
}
