package io.hwkeras.demo.core

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.LiteRtException
import com.google.ai.edge.litert.TensorBuffer

/**
 * A model ready to run on one thread of the CPU, as the report's latencies are measured.
 *
 * Not safe for use by several threads: one thread makes it, uses it and closes it.
 *
 * @throws DemoException if the runtime refuses the model, or it is not what its JSON says
 */
class Classifier(val bundle: ModelBundle, environment: Environment) : AutoCloseable {
    private val opened = mutableListOf<AutoCloseable>()
    private val model: CompiledModel
    private val inputs: List<TensorBuffer>
    private val outputs: List<TensorBuffer>

    init {
        val options = CompiledModel.Options(Accelerator.CPU)
        options.cpuOptions = CompiledModel.CpuOptions(numThreads = 1)
        try {
            model = ask { CompiledModel.create(bundle.model.path, options, environment) }
            opened += model
            inputs = ask(model::createInputBuffers)
            opened += inputs
            outputs = ask(model::createOutputBuffers)
            opened += outputs
            expectSize(bundle.input, inputs) { model.getInputBufferRequirements(it).bufferSize }
            expectSize(bundle.output, outputs) { model.getOutputBufferRequirements(it).bufferSize }
        } catch (e: DemoException) {
            close()
            throw e
        }
    }

    /** Returns the logits for uint8 pixels `height x width x channels`. */
    fun logits(pixels: ByteArray): FloatArray {
        write(FloatArray(pixels.size) { (pixels[it].toInt() and 0xff).toFloat() })
        run()
        return read()
    }

    /** Runs the model on what was last written. */
    fun run() = ask { model.run(inputs, outputs) }

    override fun close() {
        opened.asReversed().forEach(AutoCloseable::close)
        opened.clear()
    }

    private fun write(values: FloatArray) = ask {
        val input = bundle.input
        if (input.element == Element.FLOAT32) inputs[0].writeFloat(values)
        else inputs[0].writeInt8(input.store(values))
    }

    private fun read(): FloatArray = ask {
        val output = bundle.output
        if (output.element == Element.FLOAT32) outputs[0].readFloat()
        else output.real(outputs[0].readInt8())
    }

    /** Checks before anything is written: a buffer takes too few bytes without a word. */
    private fun expectSize(spec: TensorSpec, buffers: List<TensorBuffer>, size: (String) -> Int) {
        val found = ask { size(spec.name) }
        if (buffers.size != 1 || found.toLong() != spec.sizeBytes) {
            val (name, expected) = spec.name to spec.sizeBytes
            throw DemoException(Problem.WRONG_SHAPE, bundle.name, name, expected, found)
        }
    }

    private inline fun <T> ask(block: () -> T): T = try {
        block()
    } catch (e: LiteRtException) {
        throw DemoException(Problem.REFUSED, bundle.name, e.message.orEmpty(), cause = e)
    }
}
