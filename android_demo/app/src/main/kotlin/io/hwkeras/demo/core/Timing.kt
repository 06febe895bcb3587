package io.hwkeras.demo.core

import kotlin.random.Random

/**
 * Returns the median time of each task in milliseconds.
 *
 * Each round runs every task once, in an order of its own, so that a change of the phone's speed
 * hits all of them alike.
 *
 * @param rounds that count
 * @param warmup rounds before them
 * @param clock in nanoseconds
 */
fun medianMillis(
    tasks: List<() -> Unit>,
    rounds: Int = 50,
    warmup: Int = 5,
    clock: () -> Long = System::nanoTime,
    beforeRound: () -> Unit = {},
): List<Double> {
    val times = tasks.map { LongArray(rounds) }
    val order = tasks.indices.toMutableList()
    val random = Random(0)
    for (round in -warmup until rounds) {
        beforeRound()
        order.shuffle(random)
        for (task in order) {
            val start = clock()
            tasks[task]()
            if (round >= 0) times[task][round] = clock() - start
        }
    }
    return times.map { it.sort(); (it[(rounds - 1) / 2] + it[rounds / 2]) / 2e6 }
}
