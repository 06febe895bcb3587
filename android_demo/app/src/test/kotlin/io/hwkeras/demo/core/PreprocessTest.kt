package io.hwkeras.demo.core

import java.io.File
import java.util.Base64
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory

class ArgbPixels(override val width: Int, private val argb: IntArray) : Pixels {
    override val height = argb.size / width

    override fun row(y: Int, into: IntArray) {
        argb.copyInto(into, 0, y * width, (y + 1) * width)
    }

    override fun column(x: Int, into: IntArray) {
        for (y in 0 until height) into[y] = argb[y * width + x]
    }
}

class PreprocessTest {
    /** The cases that the web page and Python are held to as well. */
    @TestFactory
    fun `gives the pixels that Python gives`(): List<DynamicTest> {
        val file = JSONObject(File("../vectors/preprocess.json").readText())
        assertEquals("hwkeras-preprocess-1", file.getString("format"))
        val cases = file.getJSONArray("cases")
        assertTrue(cases.length() > 30)
        return List(cases.length()) { cases.getJSONObject(it) }.map { case ->
            dynamicTest(case.getString("name")) {
                val picture = Picture(ArgbPixels(case.getInt("width"), argb(case)))
                val pixels = Preprocess.pixels(
                    picture,
                    case.getInt("out_height"),
                    case.getInt("out_width"),
                    case.getInt("channels"),
                )
                assertArrayEquals(bytes(case, "expected"), pixels)
            }
        }
    }

    @Test
    fun `turns a picture upright`() {
        //   file        1 2     2 1     6 5     5 6     1 3 5   5 3 1   6 4 2   2 4 6
        //               3 4     4 3     4 3     3 4     2 4 6   6 4 2   5 3 1   1 3 5
        //               5 6     6 5     2 1     1 2
        val expected = listOf(
            "123456", "214365", "654321", "563412", "135246", "531642", "642531", "246135",
            "123456", // 9 is none of Exif's
        )
        val file = ArgbPixels(2, intArrayOf(1, 2, 3, 4, 5, 6))
        expected.forEachIndexed { index, text ->
            val picture = Picture(file, orientation = index + 1)
            val row = IntArray(picture.width)
            val found = List(picture.height) { y ->
                picture.row(y, row)
                row.toList()
            }
            assertEquals(text, found.flatten().joinToString(""), "orientation ${index + 1}")
        }
    }

    @Test
    fun `a preview keeps the shape and is never enlarged`() {
        fun size(width: Int, height: Int): Pair<Int, Int> {
            val picture = Picture(ArgbPixels(width, IntArray(width * height)))
            return Preprocess.preview(picture, side = 16).let { it.width to it.height }
        }
        assertEquals(8 to 6, size(8, 6))
        assertEquals(16 to 8, size(64, 32))
        assertEquals(1 to 16, size(1, 160))
    }

    @Test
    fun `shows what a model is given`() {
        val grey = Preprocess.raster(byteArrayOf(0, -1), height = 1, width = 2, channels = 1)
        assertArrayEquals(intArrayOf(0xff000000.toInt(), -1), grey.argb)
        val colour = Preprocess.raster(byteArrayOf(1, 2, 3), height = 1, width = 1, channels = 3)
        assertArrayEquals(intArrayOf(0xff010203.toInt()), colour.argb)
    }

    private fun argb(case: JSONObject): IntArray {
        val bytes = bytes(case, "pixels")
        val mode = case.getString("mode")
        return IntArray(case.getInt("width") * case.getInt("height")) { place ->
            // As Android decodes them: grey becomes three equal colours.
            fun band(name: Char) = bytes[place * mode.length + mode.indexOf(name)].toInt() and 0xff
            val (red, green, blue) = (if (mode[0] == 'L') "LLL" else "RGB").map(::band)
            val alpha = if ('A' in mode) band('A') else 255
            (alpha shl 24) or (red shl 16) or (green shl 8) or blue
        }
    }

    private fun bytes(case: JSONObject, name: String) =
        Base64.getDecoder().decode(case.getString(name))
}
