/** Least variance of a feature; one that never changed stays at zero, and so does its weight. */
const VARIANCE_FLOOR = 1e-12;

/** Mean and inverse deviation of every feature over a training set. */
export class ColumnScaling {
  readonly mean: Float64Array;
  readonly inverseDeviation: Float64Array;

  private constructor(mean: Float64Array, inverseDeviation: Float64Array) {
    [this.mean, this.inverseDeviation] = [mean, inverseDeviation];
  }

  /** features: row-major [rows, width] */
  static of(features: Float32Array, rows: number): ColumnScaling {
    const width = features.length / rows;
    const mean = new Float64Array(width);
    for (let row = 0, at = 0; row < rows; row++) for (let column = 0; column < width; column++) mean[column] += features[at++] / rows;
    const variance = new Float64Array(width);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < width; column++) variance[column] += (features[at++] - mean[column]) ** 2 / rows;
    }
    return new ColumnScaling(
      mean,
      variance.map((value) => 1 / Math.sqrt(Math.max(value, VARIANCE_FLOOR))),
    );
  }

  /** `count` rows from `first` on, standardised: [count, width] */
  rows(features: Float32Array, first: number, count: number): Float64Array {
    const { mean, inverseDeviation } = this;
    const width = mean.length;
    const x = new Float64Array(count * width);
    for (let row = 0, at = 0, from = first * width; row < count; row++) {
      for (let column = 0; column < width; column++) x[at++] = (features[from++] - mean[column]) * inverseDeviation[column];
    }
    return x;
  }

  /** The same, feature after feature: [width, count] */
  columns(features: Float32Array, first: number, count: number): Float64Array {
    const { mean, inverseDeviation } = this;
    const width = mean.length;
    const x = new Float64Array(count * width);
    for (let row = 0, from = first * width; row < count; row++) {
      for (let column = 0; column < width; column++) x[column * count + row] = (features[from++] - mean[column]) * inverseDeviation[column];
    }
    return x;
  }
}
