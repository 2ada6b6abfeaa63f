/** Scores that a manifest carries at the most. */
const MOST = 256;
/** Decimal places that are written. */
const ROUNDING = 1e6;

/**
 * What a gateway takes p-values from: 1 - P(normal) of healthy calibration windows, ascending; where there are more than `most`, upper
 * quantiles that stand for equal shares of them. Rounded up, as the quantiles are taken: p-values come out too large rather than too small.
 *
 * @param normal P(normal) of healthy windows that the model was not trained on
 */
export function healthyQuantiles(normal: Float32Array, most = MOST): number[] {
  const scores = Array.from(normal, (p) => Math.min(1, Math.ceil(Math.max(0, 1 - p) * ROUNDING) / ROUNDING)).sort((a, b) => a - b);
  if (scores.length <= most) return scores;
  return Array.from({ length: most }, (_, index) => scores[Math.ceil(((index + 1) * scores.length) / most) - 1]);
}
