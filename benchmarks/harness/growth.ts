/** Cost over size, by least squares on logarithms: cost = factor * size ^ exponent. 1 is linear, below it something is shared. */
export interface Growth {
  readonly factor: number;
  readonly exponent: number;
  /** Share of the logarithms' variance that the fit explains: below about 0.95 the law is another. */
  readonly explained: number;
}

/** @throws RangeError where fewer than two sizes differ or something is not above zero */
export function fitGrowth(sizes: readonly number[], costs: readonly number[]): Growth {
  const [x, y] = [sizes.map(Math.log), costs.map(Math.log)];
  if (new Set(sizes).size < 2 || ![...x, ...y].every(Number.isFinite)) throw new RangeError('growth needs two sizes, and costs above zero');
  const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  const spreadX = x.reduce((sum, value) => sum + (value - meanX) ** 2, 0);
  const spreadY = y.reduce((sum, value) => sum + (value - meanY) ** 2, 0);
  const exponent = x.reduce((sum, value, at) => sum + (value - meanX) * (y[at] - meanY), 0) / spreadX;
  const explained = spreadY === 0 ? 1 : (exponent ** 2 * spreadX) / spreadY;
  return { factor: Math.exp(meanY - exponent * meanX), exponent, explained };
}
