package io.hwkeras.demo.core

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class QuantizationTest {
    private val int8 = TensorSpec("x", listOf(1, 4), Element.INT8, scale = 0.5f, zeroPoint = -3)
    private val uint8 = int8.copy(element = Element.UINT8, zeroPoint = 128)

    @Test
    fun `rounds half to even and clips`() {
        // 0.25 / 0.5 is half a step: to 0; 0.75 to 2; 1.25 to 2.
        assertArrayEquals(
            byteArrayOf(-3, -1, -1, -128, 127),
            int8.store(floatArrayOf(0.25f, 0.75f, 1.25f, -1000f, 1000f)),
        )
        assertArrayEquals(byteArrayOf(-128, 0, -1), uint8.store(floatArrayOf(0f, -1000f, 1000f)))
    }

    @Test
    fun `divides in float32`() {
        // In float32 0.1 / 0.04 is 2.5, a tie: to 2. In float64 the same floats give 2.50000009.
        val spec = TensorSpec("x", listOf(1), Element.INT8, scale = 0.04f)
        assertArrayEquals(byteArrayOf(2), spec.store(floatArrayOf(0.1f)))
    }

    @Test
    fun `gives real values`() {
        assertArrayEquals(floatArrayOf(-62.5f, 1.5f, 65f), int8.real(byteArrayOf(-128, 0, 127)))
        assertArrayEquals(floatArrayOf(0f, -64f, 63.5f), uint8.real(byteArrayOf(-128, 0, -1)))
    }

    @Test
    fun `counts bytes beyond 32 bits`() {
        val spec = TensorSpec("x", listOf(1, 100_000, 100_000, 3), Element.FLOAT32)
        assertEquals(120_000_000_000, spec.sizeBytes)
    }
}
