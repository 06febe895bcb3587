package io.hwkeras.demo.core

import kotlin.math.ln
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class TopKTest {
    @Test
    fun `gives the likeliest first`() {
        // Softmax of logarithms: 1, 4, 3 of 8 parts.
        val logits = floatArrayOf(ln(1f), ln(4f), ln(3f))
        val answers = topK(listOf("a", "b", "c"), logits, count = 2)
        assertEquals(listOf("b", "c"), answers.map { it.label })
        assertEquals(0.5, answers[0].probability, 1e-6)
        assertEquals(0.375, answers[1].probability, 1e-6)
    }

    @Test
    fun `of equals the earlier comes first`() {
        val answers = topK(listOf("a", "b", "c"), floatArrayOf(1f, 2f, 2f))
        assertEquals(listOf("b", "c", "a"), answers.map { it.label })
    }

    @Test
    fun `large logits do not overflow`() {
        assertEquals(1.0, topK(listOf("a", "b"), floatArrayOf(3e38f, -3e38f))[0].probability)
    }
}
