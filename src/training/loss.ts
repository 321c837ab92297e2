/** What training makes small. */
export interface Loss {
  /** The mean over rows (and, for squared errors, outputs). */
  readonly value: number;
  /** `[count, outputs]`: its gradient by the outputs. */
  readonly gradient: Float64Array;
}

/**
 * Mean of the squared errors.
 *
 * @param outputs `[count, width]`. @param targets `[count, width]`.
 */
export function squaredError(outputs: Float64Array, targets: ArrayLike<number>): Loss {
  const gradient = new Float64Array(outputs.length);
  let sum = 0;
  for (let i = 0; i < outputs.length; i++) {
    const error = outputs[i]! - targets[i]!;
    sum += error * error;
    gradient[i] = (2 * error) / outputs.length;
  }
  return { value: sum / outputs.length, gradient };
}

/**
 * Cross-entropy of the softmax of the outputs, which thereby need none of their own.
 *
 * @param logits `[count, width]`. @param classes the right one of each row, 0 to width − 1.
 */
export function crossEntropy(logits: Float64Array, classes: ArrayLike<number>, width: number): Loss {
  const gradient = softmax(logits, width);
  const count = logits.length / width;
  let sum = 0;
  for (let row = 0; row < count; row++) {
    const at = row * width;
    const right = at + classes[row]!;
    // The smallest number that has a logarithm stands for a probability that has rounded to 0.
    sum -= Math.log(Math.max(gradient[right]!, Number.MIN_VALUE));
    gradient[right]! -= 1;
    for (let i = at; i < at + width; i++) gradient[i]! /= count;
  }
  return { value: sum / count, gradient };
}

/** Probabilities of each row; the largest logit is taken off first, so that none overflows. */
export function softmax(logits: Float64Array, width: number): Float64Array {
  const result = new Float64Array(logits.length);
  for (let at = 0; at < logits.length; at += width) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = at; i < at + width; i++) largest = Math.max(largest, logits[i]!);
    let sum = 0;
    for (let i = at; i < at + width; i++) {
      const weight = Math.exp(logits[i]! - largest);
      result[i] = weight;
      sum += weight;
    }
    for (let i = at; i < at + width; i++) result[i]! /= sum;
  }
  return result;
}

/** Rows whose largest output is that of their class. */
export function rightRows(outputs: Float64Array, classes: ArrayLike<number>, width: number): number {
  let right = 0;
  for (let row = 0; row * width < outputs.length; row++) {
    let best = 0;
    for (let i = 1; i < width; i++) if (outputs[row * width + i]! > outputs[row * width + best]!) best = i;
    if (best === classes[row]) right++;
  }
  return right;
}
