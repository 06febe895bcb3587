/** What the logits say. */

/** Returns the most likely classes, best first: `{label, probability}`. */
export function top(logits, labels, count = 3) {
  const probabilities = softmax(logits);
  return labels
    .map((label, i) => ({ label, probability: probabilities[i] }))
    .sort((one, other) => other.probability - one.probability)
    .slice(0, count);
}

/** Returns probabilities; large logits do not overflow. */
export function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
