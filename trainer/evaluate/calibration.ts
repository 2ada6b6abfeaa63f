/** Bins of the calibration error (Guo et al. 2017). */
const CALIBRATION_BINS = 15;

/** Temperatures that are looked at: beyond them, probabilities are all certain or all alike. */
const COLDEST = 1e-2;
const HOTTEST = 1e2;
const HALVINGS = 60;

/** Windows whose confidence lies in (from, to]. */
export interface ReliabilityBin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** Share that is decided right; 0 in an empty bin. */
  readonly accuracy: number;
  /** Mean probability of the decided class; 0 in an empty bin. */
  readonly confidence: number;
}

export interface Calibration {
  /** Expected calibration error: mean distance of accuracy and confidence, each bin by its count. */
  readonly ece: number;
  /** Mean negative log-likelihood of the true class, in nats. */
  readonly nll: number;
  /** For a reliability diagram, from low confidence to high. */
  readonly bins: readonly ReliabilityBin[];
}

/** logits: [rows, classes] -> probabilities [rows, classes] of logits / temperature */
export function softmaxRows(logits: Float32Array, classes: number, temperature = 1): Float32Array {
  const probabilities = new Float32Array(logits.length);
  for (let at = 0; at < logits.length; at += classes) {
    const row = logits.subarray(at, at + classes);
    const largest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    let sum = 0;
    for (const logit of row) sum += Math.exp((logit - largest) / temperature);
    for (let column = 0; column < classes; column++) probabilities[at + column] = Math.exp((row[column] - largest) / temperature) / sum;
  }
  return probabilities;
}

/**
 * Temperature scaling (Guo et al. 2017): the temperature that dividing logits by makes the labels most likely.
 *
 * The negative log-likelihood is convex in 1 / temperature, so its slope has one zero, found by halving. A label counts as certain only to
 * 1 - 1 / (rows + 2), as in Platt's scaling (1999): otherwise rows that are all decided right would call for infinite certainty. Take
 * held-out logits: training logits are too sure of themselves.
 *
 * @param logits row-major [rows, classes]
 * @param labels class index of each row
 */
export function fitTemperature(logits: Float32Array, labels: Int32Array, classes: number): number {
  let [low, high] = [1 / HOTTEST, 1 / COLDEST];
  for (let halving = 0; halving < HALVINGS; halving++) {
    // In the middle of the exponents: the range spans four powers of ten.
    const middle = Math.sqrt(low * high);
    if (likelihoodSlope(logits, labels, classes, middle) > 0) high = middle;
    else low = middle;
  }
  return 1 / Math.sqrt(low * high);
}

/** Slope of the summed negative log-likelihood over sharpness = 1 / temperature: mean logit under the softmax less that under the label. */
function likelihoodSlope(logits: Float32Array, labels: Int32Array, classes: number, sharpness: number): number {
  const doubt = 1 / (labels.length + 2);
  let slope = 0;
  for (let row = 0; row < labels.length; row++) {
    const values = logits.subarray(row * classes, (row + 1) * classes);
    const largest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    let [sum, weighted, all] = [0, 0, 0];
    for (const logit of values) {
      const share = Math.exp(sharpness * (logit - largest));
      sum += share;
      weighted += share * (logit - largest);
      all += logit - largest;
    }
    const own = values[labels[row]] - largest;
    slope += weighted / sum - (1 - doubt) * own - (doubt * (all - own)) / (classes - 1);
  }
  return slope;
}

/** Calibration of probabilities [rows, classes] against labels, by the decided class alone. */
export function calibrationOf(probabilities: Float32Array, labels: Int32Array, classes: number, count = CALIBRATION_BINS): Calibration {
  const counts = new Float64Array(count);
  const right = new Float64Array(count);
  const confidence = new Float64Array(count);
  let nll = 0;
  for (let row = 0; row < labels.length; row++) {
    const values = probabilities.subarray(row * classes, (row + 1) * classes);
    const largest = values.reduce((a, b) => Math.max(a, b), 0);
    const bin = Math.max(0, Math.min(count - 1, Math.ceil(largest * count) - 1));
    counts[bin]++;
    confidence[bin] += largest;
    if (values.indexOf(largest) === labels[row]) right[bin]++;
    nll -= Math.log(Math.max(values[labels[row]], Number.MIN_VALUE)) / labels.length;
  }
  const bins = Array.from(counts, (inside, bin) => ({
    from: bin / count,
    to: (bin + 1) / count,
    count: inside,
    accuracy: inside === 0 ? 0 : right[bin] / inside,
    confidence: inside === 0 ? 0 : confidence[bin] / inside,
  }));
  const ece = bins.reduce((sum, bin) => sum + (bin.count * Math.abs(bin.accuracy - bin.confidence)) / labels.length, 0);
  return { ece, nll, bins };
}
