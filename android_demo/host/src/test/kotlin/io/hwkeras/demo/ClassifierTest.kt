package io.hwkeras.demo

import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.JniHandle
import io.hwkeras.demo.core.Classifier
import io.hwkeras.demo.core.DemoException
import io.hwkeras.demo.core.Element
import io.hwkeras.demo.core.ModelBundle
import io.hwkeras.demo.core.Picture
import io.hwkeras.demo.core.Preprocess
import io.hwkeras.demo.core.Problem
import io.hwkeras.demo.core.TensorSpec
import java.io.File
import javax.imageio.ImageIO
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

class ClassifierTest {
    @TempDir lateinit var folder: File

    private var before = 0
    private lateinit var environment: Environment

    @BeforeEach
    fun open() {
        before = JniHandle.open.get()
        environment = Environment.create()
    }

    @AfterEach
    fun `every handle is closed`() {
        environment.close()
        assertEquals(before, JniHandle.open.get())
    }

    @ParameterizedTest
    @ValueSource(strings = ["grey-float32", "grey-int8-float32"])
    fun `answers what Python answers, to the last bit`(name: String) {
        forEachDigit(name) { _, expected, found -> assertArrayEquals(expected, found) }
    }

    @ParameterizedTest
    @ValueSource(strings = ["grey-int8-int8", "grey-int8-uint8"])
    fun `answers what Python answers, to a step of an integer output`(name: String) {
        forEachDigit(name) { output, expected, found ->
            assertArrayEquals(expected, found, output.scale * 1.001f)
        }
    }

    @Test
    fun `sees in each kind of picture what Python sees, and answers the same`() {
        val cases = Exported.expected.getJSONArray("pictures")
        assertEquals(24, cases.length())
        for (case in List(cases.length(), cases::getJSONObject)) {
            val file = Exported.folder.resolve("pictures/${case.getString("file")}")
            val pixels = ImagePixels(ImageIO.read(file))
            val picture = Picture(pixels, case.getInt("orientation"))
            val logits = case.getJSONObject("logits")
            for (name in logits.keys()) classifier(name).use {
                val (height, width, channels) = it.bundle.input.shape.drop(1)
                val seen = Preprocess.pixels(picture, height, width, channels)
                assertArrayEquals(Exported.bytes(case.getString("pixels")), seen, "$file")
                val step = it.bundle.output.let { spec -> if (spec.isFloat()) 0f else spec.scale }
                val expected = Exported.floats(logits.getJSONArray(name))
                assertClose(expected, it.logits(seen), step, "$name on $file")
            }
        }
    }

    @Test
    fun `a photo of 12 megapixels is among the pictures`() {
        val photo = ImageIO.read(Exported.folder.resolve("pictures/photo.png"))
        assertEquals(4000 to 3000, photo.width to photo.height)
    }

    /** LiteRT crashes on such files, without an exception: they must never reach it. */
    @Test
    fun `refuses a truncated model before the runtime sees it`() {
        val content = Exported.model("grey-float32").readBytes()
        val model = folder.resolve("half.tflite")
        for (size in listOf(8, 100, content.size / 2, content.size - 1)) {
            model.writeBytes(content.copyOf(size))
            val found = problem { ModelBundle.read(model, Exported.sidecar("grey-float32")) }
            assertEquals(Problem.OTHER_MODEL, found)
        }
    }

    @Test
    fun `refuses a shape that the model does not have`() {
        for ((side, shape) in mapOf("input" to listOf(1, 16, 16, 1), "output" to listOf(1, 11))) {
            val bundle = altered("grey-float32") {
                getJSONObject(side).put("shape", JSONArray(shape))
                if (side == "output") getJSONArray("labels").put("a label too many")
            }
            assertEquals(Problem.WRONG_SHAPE, problem { Classifier(bundle, environment) })
        }
    }

    @Test
    fun `refuses a name that the model does not have`() {
        val bundle = altered("grey-float32") { getJSONObject("input").put("name", "pixels") }
        assertEquals(Problem.REFUSED, problem { Classifier(bundle, environment) })
    }

    private fun forEachDigit(name: String, check: (TensorSpec, FloatArray, FloatArray) -> Unit) {
        val digits = Exported.expected.getJSONObject("digits")
        val pixels = digits.getJSONArray("pixels")
        val logits = digits.getJSONObject("logits").getJSONArray(name)
        assertEquals(64, pixels.length())
        classifier(name).use {
            for (i in 0 until pixels.length()) {
                val found = it.logits(Exported.bytes(pixels.getString(i)))
                check(it.bundle.output, Exported.floats(logits.getJSONArray(i)), found)
            }
        }
    }

    private fun classifier(name: String) = Classifier(Exported.bundle(name), environment)

    private fun TensorSpec.isFloat() = element == Element.FLOAT32

    private fun assertClose(expected: FloatArray, found: FloatArray, step: Float, what: String) {
        if (step == 0f) assertArrayEquals(expected, found, what)
        else assertArrayEquals(expected, found, step * 1.001f, what)
    }

    private fun altered(name: String, change: JSONObject.() -> Unit): ModelBundle {
        val json = JSONObject(Exported.sidecar(name).readText()).apply(change)
        val sidecar = folder.resolve("altered.json").apply { writeText("$json") }
        return ModelBundle.read(Exported.model(name), sidecar)
    }

    private fun problem(action: () -> Unit): Problem {
        val found = assertThrows(DemoException::class.java, action)
        assertTrue(found.details.isNotEmpty())
        return found.problem
    }
}
