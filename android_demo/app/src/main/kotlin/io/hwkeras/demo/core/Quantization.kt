package io.hwkeras.demo.core

/** How a tensor stores a value, and the integers it can hold. */
enum class Element(val bytes: Int, val range: IntRange) {
    FLOAT32(4, IntRange.EMPTY),
    INT8(1, -128..127),
    UINT8(1, 0..255),
}

/** One input or output: real value = scale * (stored value - zeroPoint). */
data class TensorSpec(
    val name: String,
    val shape: List<Int>,
    val element: Element,
    val scale: Float = 1f,
    val zeroPoint: Int = 0,
) {
    val sizeBytes: Long
        get() = shape.fold(element.bytes.toLong(), Long::times)

    /** Returns real values as an integer tensor holds them: rounded half to even, and clipped. */
    fun store(values: FloatArray) = ByteArray(values.size) {
        // Divided in float32 like NumPy does, so that ties fall the same way.
        val steps = Math.rint((values[it] / scale).toDouble()) + zeroPoint
        steps.toInt().coerceIn(element.range).toByte()
    }

    /** Returns what an integer tensor holds as real values. */
    fun real(stored: ByteArray) = FloatArray(stored.size) {
        val bits = stored[it].toInt()
        scale * ((if (element == Element.UINT8) bits and 0xff else bits) - zeroPoint)
    }
}
