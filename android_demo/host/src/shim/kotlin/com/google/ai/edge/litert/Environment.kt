package com.google.ai.edge.litert

class Environment private constructor(handle: Long) : JniHandle(handle) {
    enum class Option { CompilerPluginLibraryDir, DispatchLibraryDir }

    override fun destroy() = nativeDestroy(handle)

    companion object {
        init {
            System.loadLibrary("litert_jni")
        }

        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        fun create(options: Map<Option, String> = mapOf()): Environment {
            require(options.isEmpty()) { "the stand-in knows no options" }
            return Environment(nativeCreate())
        }

        @JvmStatic private external fun nativeCreate(): Long

        @JvmStatic private external fun nativeDestroy(handle: Long)
    }
}
