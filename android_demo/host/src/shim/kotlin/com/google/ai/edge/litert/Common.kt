// A stand-in for the classes of com.google.ai.edge.litert:litert that the app uses: the same names
// and signatures as in version 2.3.0, over ../../../../../../../c/litert_jni.c. Never in the app.
package com.google.ai.edge.litert

import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.atomic.AtomicInteger

enum class Accelerator(val value: Int) {
    NONE(0),
    CPU(1),
    GPU(2),
    NPU(3),
}

class LiteRtException(val code: Int, message: String) : Exception("$message ($code)")

abstract class JniHandle internal constructor(internal val handle: Long) : AutoCloseable {
    private val destroyed = AtomicBoolean(false)

    init {
        open.incrementAndGet()
    }

    protected fun assertNotDestroyed() {
        check(!destroyed.get()) { "The handle has been destroyed." }
    }

    protected abstract fun destroy()

    final override fun close() {
        if (destroyed.compareAndSet(false, true)) {
            destroy()
            open.decrementAndGet()
        }
    }

    companion object {
        /** Handles that are not closed yet: only here, for the tests. */
        val open = AtomicInteger()
    }
}
