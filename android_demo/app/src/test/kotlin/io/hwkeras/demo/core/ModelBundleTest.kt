package io.hwkeras.demo.core

import java.io.File
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class ModelBundleTest {
    @TempDir lateinit var folder: File

    private val content = "\u001c\u0000\u0000\u0000TFL3 and the rest".toByteArray()
    private val model by lazy { folder.resolve("net.tflite").apply { writeBytes(content) } }
    private val sidecar by lazy { folder.resolve("net.json") }

    @Test
    fun `reads what lies beside a model`() {
        val bundle = read()
        assertEquals("net", bundle.name)
        assertEquals(listOf("cat", "dog"), bundle.labels)
        assertEquals(listOf(20, 12, 3), listOf(bundle.height, bundle.width, bundle.channels))
        assertEquals(TensorSpec("image", listOf(1, 20, 12, 3), Element.FLOAT32), bundle.input)
        assertEquals(TensorSpec("logits", listOf(1, 2), Element.INT8, 0.1f, -7), bundle.output)
        assertEquals(0.75, bundle.accuracy)
        assertEquals(content.size.toLong(), bundle.sizeBytes)
    }

    @Test
    fun `an unknown accuracy is none`() {
        assertEquals(null, read { put("accuracy", JSONObject.NULL) }.accuracy)
    }

    @Test
    fun `refuses what is no model`() {
        for (bytes in listOf(ByteArray(0), "TFL3".toByteArray(), ByteArray(100))) {
            model.writeBytes(bytes)
            assertProblem(Problem.NOT_A_MODEL, "net") { ModelBundle.read(model, sidecar) }
        }
    }

    @Test
    fun `refuses a sidecar that is none`() {
        val broken = listOf(
            "", "{", "[]", "null", "{\"format\": \"other\"}", "{\"format\": 3}", "\u0000\u0001",
            "[".repeat(500_000), "{\"a\":".repeat(150_000), " ".repeat(2_000_000),
            "[" + "1,".repeat(1000) + "1]", "{\"${"a".repeat(1000)}",
        )
        for (text in broken) {
            sidecar.writeText(text)
            assertProblem(Problem.NOT_A_SIDECAR) { ModelBundle.read(model, sidecar) }
        }
    }

    @Test
    fun `refuses a sidecar that lacks a field or has another in its place`() {
        val changes = listOf<JSONObject.() -> Unit>(
            { remove("name") },
            { remove("sha256") },
            { remove("labels") },
            { remove("input") },
            { remove("output") },
            { getJSONObject("input").remove("name") },
            { getJSONObject("input").remove("shape") },
            { getJSONObject("input").remove("dtype") },
            { getJSONObject("output").remove("scale") },
            { getJSONObject("output").put("zero_point", JSONObject.NULL) },
            { getJSONObject("input").put("shape", "1x8x8x1") },
            { getJSONObject("input").put("shape", JSONArray(listOf(1, 0, 8, 1))) },
            { getJSONObject("input").put("range", JSONArray(listOf(0.0))) },
            { put("labels", "cat, dog") },
            { put("accuracy", "high") },
        )
        for (change in changes) assertProblem(Problem.NOT_A_SIDECAR) { read(change) }
    }

    @Test
    fun `refuses the sidecar of another or a damaged model`() {
        assertProblem(Problem.OTHER_MODEL, "net") { read { put("sha256", "0".repeat(64)) } }
        read()
        model.writeBytes(content.copyOf(content.size - 1))
        assertProblem(Problem.OTHER_MODEL, "net") { ModelBundle.read(model, sidecar) }
    }

    @Test
    fun `refuses a model that takes no pictures`() {
        for (shape in listOf(listOf(1, 13), listOf(2, 8, 8, 1), listOf(1, 8, 8, 4))) {
            assertProblem(Problem.NOT_FOR_PICTURES, "net", shape.joinToString("×")) {
                read { getJSONObject("input").put("shape", JSONArray(shape)) }
            }
        }
        for (range in listOf(JSONObject.NULL, JSONArray(listOf(0.0, 1.0)))) {
            assertProblem(Problem.NOT_FOR_PICTURES, "net", "1×20×12×3") {
                read { getJSONObject("input").put("range", range) }
            }
        }
    }

    @Test
    fun `refuses a type that it cannot feed`() {
        assertProblem(Problem.UNSUPPORTED_TYPE, "net", "int16") {
            read { getJSONObject("output").put("dtype", "int16") }
        }
    }

    @Test
    fun `refuses labels that do not go with the output`() {
        assertProblem(Problem.WRONG_LABELS, "net", "1", "1×2") {
            read { put("labels", JSONArray(listOf("cat"))) }
        }
    }

    @Test
    fun `reads the list of the assets`() {
        val catalog = Catalog.read(
            """{"format": "hwkeras-bundles-1", "models": ["a", "b"],
                "samples": [{"file": "samples/3.png", "label": "3"}]}"""
        )
        assertEquals(listOf("a", "b"), catalog.models)
        assertEquals(listOf(Sample("samples/3.png", "3")), catalog.samples)
        for (text in listOf("", "{}", "{\"format\": \"hwkeras-bundles-1\"}", "[".repeat(500_000))) {
            assertProblem(Problem.NO_MODELS) { Catalog.read(text) }
        }
    }

    private fun read(change: JSONObject.() -> Unit = {}): ModelBundle {
        val digest = MessageDigest.getInstance("SHA-256").digest(model.readBytes())
        val json = JSONObject(
            """{"format": "hwkeras-bundle-1", "name": "net", "labels": ["cat", "dog"],
                "input": {"name": "image", "shape": [1, 20, 12, 3], "dtype": "float32",
                          "scale": null, "zero_point": null, "range": [0.0, 255.0]},
                "output": {"name": "logits", "shape": [1, 2], "dtype": "int8",
                           "scale": 0.10000000149011612, "zero_point": -7},
                "accuracy": 0.75}"""
        )
        json.put("sha256", digest.joinToString("") { "%02x".format(it) })
        sidecar.writeText(json.apply(change).toString())
        return ModelBundle.read(model, sidecar)
    }

    private fun assertProblem(problem: Problem, vararg details: String, action: () -> Unit) {
        val found = assertThrows(DemoException::class.java, action)
        assertEquals(problem, found.problem)
        if (details.isNotEmpty()) assertEquals(details.toList(), found.details)
        assertTrue(found.details.all { it.length < 500 }) // it goes on the screen
    }
}
