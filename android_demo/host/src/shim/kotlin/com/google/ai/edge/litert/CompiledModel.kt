package com.google.ai.edge.litert

data class TensorBufferRequirements(val bufferSize: Int)

class CompiledModel
private constructor(
    handle: Long,
    private val env: Environment,
    private val envManaged: Boolean,
) : JniHandle(handle) {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(internal val accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        var cpuOptions: CpuOptions? = null

        companion object {
            @JvmStatic val CPU = Options(Accelerator.CPU)
        }
    }

    @Throws(LiteRtException::class)
    fun getInputBufferRequirements(
        inputName: String,
        signature: String = "",
    ): TensorBufferRequirements = requirements(inputName, signature, input = true)

    @Throws(LiteRtException::class)
    fun getOutputBufferRequirements(
        outputName: String,
        signature: String = "",
    ): TensorBufferRequirements = requirements(outputName, signature, input = false)

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> =
        buffers(signatureIndex, input = true)

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> =
        buffers(signatureIndex, input = false)

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) {
        assertNotDestroyed()
        require(signatureIndex == 0) { "the stand-in knows one signature" }
        nativeRun(handle, inputs.handles(), outputs.handles())
    }

    override fun destroy() {
        nativeDestroy(handle)
        if (envManaged) env.close()
    }

    private fun requirements(
        name: String,
        signature: String,
        input: Boolean,
    ): TensorBufferRequirements {
        assertNotDestroyed()
        require(signature.isEmpty()) { "the stand-in knows one signature" }
        return TensorBufferRequirements(nativeBufferSize(handle, name, input))
    }

    private fun buffers(signatureIndex: Int, input: Boolean): List<TensorBuffer> {
        assertNotDestroyed()
        require(signatureIndex == 0) { "the stand-in knows one signature" }
        return nativeCreateBuffers(handle, input).map(::TensorBuffer)
    }

    private fun List<TensorBuffer>.handles() = map { it.handle }.toLongArray()

    companion object {
        init {
            System.loadLibrary("litert_jni")
        }

        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        fun create(
            filePath: String,
            options: Options = Options.CPU,
            optionalEnv: Environment? = null,
        ): CompiledModel {
            require(options.accelerators == setOf(Accelerator.CPU)) { "the stand-in has a CPU" }
            val env = optionalEnv ?: Environment.create()
            val threads = options.cpuOptions?.numThreads ?: 0
            val handle = nativeCreateFromFile(env.handle, filePath, threads)
            return CompiledModel(handle, env, envManaged = optionalEnv == null)
        }

        @JvmStatic
        private external fun nativeCreateFromFile(env: Long, path: String, threads: Int): Long

        @JvmStatic private external fun nativeCreateBuffers(handle: Long, input: Boolean): LongArray

        @JvmStatic
        private external fun nativeBufferSize(handle: Long, name: String, input: Boolean): Int

        @JvmStatic
        private external fun nativeRun(handle: Long, inputs: LongArray, outputs: LongArray)

        @JvmStatic private external fun nativeDestroy(handle: Long)
    }
}
