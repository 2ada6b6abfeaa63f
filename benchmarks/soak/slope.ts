/**
 * Least-squares slope of `values` over `times`, with its standard error: memory grows where the slope is several errors above zero. Is wrong about
 * the first minutes of a program, whose heap finds its size: leave them out.
 *
 * @returns per unit of time; zeros where there are fewer than three points
 */
export function slopeOf(times: readonly number[], values: readonly number[]): { readonly slope: number; readonly error: number } {
  const count = times.length;
  if (count < 3) return { slope: 0, error: 0 };
  const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / count;
  const [meanTime, meanValue] = [mean(times), mean(values)];
  const spread = times.reduce((sum, time) => sum + (time - meanTime) ** 2, 0);
  const slope = times.reduce((sum, time, index) => sum + (time - meanTime) * (values[index] - meanValue), 0) / spread;
  const residual = times.reduce((sum, time, index) => sum + (values[index] - meanValue - slope * (time - meanTime)) ** 2, 0);
  return { slope, error: Math.sqrt(residual / (count - 2) / spread) };
}
