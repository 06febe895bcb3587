package io.hwkeras.demo.core

import java.io.File
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** A .tflite that takes pictures, and what the JSON beside it says. */
class ModelBundle(
    val model: File,
    val name: String,
    val labels: List<String>,
    val input: TensorSpec,
    val output: TensorSpec,
    val accuracy: Double?,
) {
    val sizeBytes = model.length()
    val height = input.shape[1]
    val width = input.shape[2]
    val channels = input.shape[3]

    companion object {
        private const val FORMAT = "hwkeras-bundle-1"
        private const val LARGEST_SIDECAR = 1L shl 20 // bytes; one of 1000 labels has 0.03 of that

        /** @throws DemoException if the two files are no model that this app can run */
        fun read(model: File, sidecar: File): ModelBundle {
            val name = model.nameWithoutExtension
            if (!isModel(model)) throw DemoException(Problem.NOT_A_MODEL, name)
            return try {
                if (sidecar.length() > LARGEST_SIDECAR) throw JSONException("too large")
                read(model, parse(sidecar.readText(), FORMAT))
            } catch (e: JSONException) {
                throw DemoException(Problem.NOT_A_SIDECAR, name, e.reason(), cause = e)
            }
        }

        /** Tells a .tflite by its content: what a phone hands over may have any name. */
        fun isModel(file: File): Boolean {
            val head = ByteArray(8)
            return file.isFile &&
                file.inputStream().use { it.read(head) } == head.size &&
                String(head, 4, 4, Charsets.ISO_8859_1) == "TFL3"
        }

        private fun read(model: File, json: JSONObject): ModelBundle {
            val name = json.getString("name")
            if (json.getString("sha256") != sha256(model)) {
                throw DemoException(Problem.OTHER_MODEL, name)
            }
            val bundle = ModelBundle(
                model,
                name,
                json.getJSONArray("labels").strings(),
                picture(name, json.getJSONObject("input")),
                spec(name, json.getJSONObject("output")),
                if (json.isNull("accuracy")) null else json.getDouble("accuracy"),
            )
            val (labels, classes) = bundle.labels.size to bundle.output.shape
            if (classes != listOf(1, labels)) {
                throw DemoException(Problem.WRONG_LABELS, name, labels, classes.text())
            }
            return bundle
        }

        private fun picture(name: String, json: JSONObject): TensorSpec {
            val spec = spec(name, json)
            val range = if (json.isNull("range")) null else json.getJSONArray("range")
            val raw = range?.let { it.getDouble(0) == 0.0 && it.getDouble(1) == 255.0 } ?: false
            val shape = spec.shape
            if (!raw || shape.size != 4 || shape[0] != 1 || shape[3] !in setOf(1, 3)) {
                throw DemoException(Problem.NOT_FOR_PICTURES, name, shape.text())
            }
            return spec
        }

        private fun spec(name: String, json: JSONObject): TensorSpec {
            val type = json.getString("dtype")
            val element = Element.entries.find { it.name.lowercase() == type }
                ?: throw DemoException(Problem.UNSUPPORTED_TYPE, name, type)
            val shape = json.getJSONArray("shape").let { List(it.length(), it::getInt) }
            if (shape.any { it < 1 }) throw JSONException("shape ${shape.text()}")
            val tensor = TensorSpec(json.getString("name"), shape, element)
            if (element == Element.FLOAT32) return tensor
            return tensor.copy(
                scale = json.getDouble("scale").toFloat(),
                zeroPoint = json.getInt("zero_point"),
            )
        }

        private fun sha256(file: File): String {
            val digest = MessageDigest.getInstance("SHA-256")
            file.inputStream().use { stream ->
                val chunk = ByteArray(1 shl 16)
                generateSequence { stream.read(chunk).takeIf { it > 0 } }
                    .forEach { digest.update(chunk, 0, it) }
            }
            return digest.digest().joinToString("") { "%02x".format(it) }
        }

        private fun List<Int>.text() = joinToString("×")
    }
}

/** A picture that comes with the app: its path in the assets, and its class. */
data class Sample(val file: String, val label: String)

/** What the assets hold, in the order to show it. */
class Catalog(val models: List<String>, val samples: List<Sample>) {
    companion object {
        const val FILE = "bundles.json"
        private const val FORMAT = "hwkeras-bundles-1"

        /** @throws DemoException if the text is no list of bundles */
        fun read(text: String): Catalog = try {
            val json = parse(text, FORMAT)
            val samples = json.getJSONArray("samples")
            Catalog(
                json.getJSONArray("models").strings(),
                List(samples.length()) {
                    val sample = samples.getJSONObject(it)
                    Sample(sample.getString("file"), sample.getString("label"))
                },
            )
        } catch (e: JSONException) {
            throw DemoException(Problem.NO_MODELS, e.reason(), cause = e)
        }
    }
}

private const val LONGEST_REASON = 200 // characters

/** Returns what is wrong, in brief: Android's org.json quotes all that it read. */
private fun JSONException.reason() = message.orEmpty().take(LONGEST_REASON)

private fun parse(text: String, format: String): JSONObject {
    val json = try {
        JSONObject(text)
    } catch (e: StackOverflowError) { // it descends with the brackets, however many there are
        throw JSONException("nested too deeply").initCause(e) as JSONException
    }
    val found = json.optString("format")
    if (found != format) throw JSONException("expected the format $format, found \"$found\"")
    return json
}

private fun JSONArray.strings() = List(length(), ::getString)
