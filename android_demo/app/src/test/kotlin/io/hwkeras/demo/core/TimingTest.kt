package io.hwkeras.demo.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class TimingTest {
    @Test
    fun `gives the median of the rounds that count, in milliseconds`() {
        var now = 0L
        var calls = 0
        // Warm-up takes 100 ms a call; then 1, 2, 3, 10 ms, of which the median is 2.5.
        val steps = listOf(100L, 100L, 1L, 2L, 3L, 10L).map { it * 1_000_000 }
        val median = medianMillis(
            listOf { now += steps[calls++] }, rounds = 4, warmup = 2, clock = { now },
        )
        assertEquals(listOf(2.5), median)
    }

    @Test
    fun `runs all tasks in each round, in changing orders`() {
        val rounds = mutableListOf<MutableList<Int>>()
        val tasks = List(3) { task -> { rounds.last() += task } }
        medianMillis(tasks, 20, warmup = 2, beforeRound = { rounds += mutableListOf<Int>() })
        assertEquals(22, rounds.size)
        assertEquals(setOf(listOf(0, 1, 2)), rounds.map { it.sorted() }.toSet())
        assertEquals(6, rounds.toSet().size)
    }
}
