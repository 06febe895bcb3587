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
        // In float32 0.3 / 0.1 is 3, in float64 2.9999...; times 0.5 the one is a tie.
        val spec = TensorSpec("x", listOf(1), Element.INT8, scale = 0.2f)
        assertArrayEquals(byteArrayOf(2), spec.store(floatArrayOf(0.3f)))
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
