/**
 * Conformal p-value (Vovk et al. 2005): the share of healthy windows that look at least as bad, counting the window itself. Among windows that are
 * exchangeable with the calibration windows, a p-value of at most `a` comes up with a probability of at most `a`.
 *
 * Is wrong when healthy windows of this machine are not like those of calibration: then p-values are too small. Never below
 * 1 / (scores + 1), however bad the window.
 *
 * @param healthyScores of healthy calibration windows, ascending
 * @param score of the window; larger is worse
 */
export function conformalPValue(healthyScores: Float64Array, score: number): number {
  let [low, high] = [0, healthyScores.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (healthyScores[middle] < score) low = middle + 1;
    else high = middle;
  }
  return (healthyScores.length - low + 1) / (healthyScores.length + 1);
}
