package io.hwkeras.demo.core

import kotlin.math.exp

/** A class and its probability, 0 to 1. */
data class Answer(val label: String, val probability: Double)

/** Returns the `count` most probable classes, likeliest first; of equals, the earlier class. */
fun topK(labels: List<String>, logits: FloatArray, count: Int = 3): List<Answer> {
    val highest = logits.max()
    val powers = logits.map { exp((it - highest).toDouble()) } // no overflow: all in 0..1
    val sum = powers.sum()
    return labels.zip(powers) { label, power -> Answer(label, power / sum) }
        .sortedByDescending(Answer::probability)
        .take(count)
}
