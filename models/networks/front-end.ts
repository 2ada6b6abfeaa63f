import * as tf from '@tensorflow/tfjs-core';
import type { ParameterSpec } from './parameters.ts';

/** Which kinds of tokens a window becomes. */
export type TokenKind =
  | 'frames'
  | 'spectrum'
  | 'envelope'
  | 'statistics'
  | 'patches'
  /** The log spectrum under a Hann window: strong lines do not leak into weak ones. */
  | 'tapered'
  /** Log powers of 32 equal bands, under a Hann window too. */
  | 'bands'
  /** Spectra of how the magnitudes of four bands go up and down: envelope analysis without knowing where a fault rings. */
  | 'demodulation'
  /** Skewness, log kurtosis, log crest factor and log shape factor: how spiked a waveform is, whatever its size. */
  | 'shape';

export interface FrontEndOptions {
  /** Samples a window, 16 * a power of two from 128 to 4096. */
  readonly window: number;
  readonly channels: number;
  readonly tokens: readonly TokenKind[];
  /** Samples a raw patch. */
  readonly patch: number;
  /** Samples from one frame's start to the next: half a frame (32), or a whole one (64) where tokens were pruned. */
  readonly hop: number;
}

/** Features of one kind: `tokens` vectors of `width` numbers for every window. */
export interface FeaturePart {
  readonly kind: TokenKind;
  readonly tokens: number;
  readonly width: number;
}

/** Samples a frame; with hop 32, 512 samples make 15 frames. */
const FRAME = 64;
/** Floor under a power before its logarithm, relative to white noise of the same energy. */
const POWER_FLOOR = 1e-5;
const STATISTICS = 3;
const SHAPE_FACTORS = 4;
const BANDS = 32;
const BAND_FLOOR = 1e-3;
/** Floats in the widest vector register (AVX-512). */
const REGISTER = 16;
const ENVELOPE_ROWS = 4;
/**
 * Bands centred at 1.5, 3.5, 5.5 and 7.5 sixteenths of the rate, each as wide as it is far from the next: what a Hann window of 16 samples lets
 * through. Their magnitudes are taken every 4 samples.
 */
const DEMODULATION = { frame: 16, hop: 4, centres: [1.5, 3.5, 5.5, 7.5], bins: 32, floor: 1 } as const;
/** Mean square of a Hann window. */
const HANN_POWER = 0.375;

export function featureParts({ window, channels, tokens, patch, hop }: FrontEndOptions): FeaturePart[] {
  const { fine } = factors(window);
  const shapes: Record<TokenKind, [tokens: number, width: number]> = {
    frames: [(window - FRAME) / hop + 1, FRAME / 2],
    spectrum: [1, window / 2],
    envelope: [1, (window / fine) * ENVELOPE_ROWS],
    statistics: [1, STATISTICS],
    patches: [Math.floor(window / patch), patch],
    tapered: [1, window / 2],
    bands: [1, BANDS],
    demodulation: [1, DEMODULATION.centres.length * demodulationBins(window)],
    shape: [1, SHAPE_FACTORS],
  };
  return tokens.map((kind) => ({
    kind,
    tokens: shapes[kind][0],
    width: shapes[kind][1] * channels,
  }));
}

/** Bins of each band's magnitude spectrum: 32, from one cycle a window on; no more than its values can tell. */
function demodulationBins(window: number): number {
  return Math.min(DEMODULATION.bins, window / DEMODULATION.hop / 2);
}

/** window = coarse * fine: the two factors of the Fourier transform (Cooley and Tukey 1965). */
function factors(window: number): { coarse: number; fine: number } {
  const coarse = 16;
  const fine = window / coarse;
  if (!Number.isInteger(fine) || fine < 8 || window > 4096)
    throw new Error(`a window of ${window} samples is not a multiple of 16 from 128 to 4096`);
  return { coarse, fine };
}

/** 0, 1, ... as a column [count, 1] or a row [1, count]. */
const column = (count: number) =>
  tf.tensor2d(
    Float32Array.from({ length: count }, (_, index) => index),
    [count, 1],
  );
const row = (count: number) => tf.reshape(column(count), [1, count]);

/**
 * cos and -sin of 2 pi a b / period for the products of a column and a row: a table of Fourier factors.
 *
 * Computed in the graph from two short ranges, which every engine does once when it loads the graph: as stored numbers the tables would be a
 * seventh of a bundle. The remainder keeps the angle exact, however large the product.
 */
function fourierFactors(a: tf.Tensor, b: tf.Tensor, period: number): { cos: tf.Tensor; sin: tf.Tensor } {
  const angle = tf.mul(tf.mod(tf.mul(a, b), period), (2 * Math.PI) / period);
  return { cos: tf.cos(angle), sin: tf.neg(tf.sin(angle)) };
}

/**
 * Power spectrum by two small matrix products with twiddle factors between them. A full DFT matrix of 512 points would weigh 1 MB;
 * these constants weigh 14 kB and need no operator beyond MatMul.
 *
 * With t = fine * a + b and k = c + coarse * d: X[k] = sum_b w^(bc) W_fine^(bd) sum_a x[fine * a + b] W_coarse^(ac).
 *
 * @param x [R, window]
 * @param rows how many of the `fine / 2` blocks of `coarse` bins to make; bins 0 .. coarse * rows - 1
 * @returns power a bin in order of frequency, [R, coarse * rows]; 1 on average for white noise of unit variance
 */
function powerSpectrum(x: tf.Tensor, window: number, rows: number): tf.Tensor {
  const { coarse, fine } = factors(window);
  // Stage 1 along a. [2 * coarse (re, im by c), coarse (a)] x [R, coarse (a), fine (b)] -> [R, 2 * coarse, fine]
  const first = fourierFactors(column(coarse), row(coarse), coarse);
  const stage = tf.matMul(tf.expandDims(tf.concat([first.cos, first.sin], 0), 0), tf.reshape(x, [-1, coarse, fine]));
  const [re, im] = tf.split(stage, 2, 1);
  // Twiddles: multiply element (c, b) by exp(-2 pi i b c / window).
  const { cos, sin } = fourierFactors(column(coarse), row(fine), window);
  const turned = tf.concat([tf.sub(tf.mul(re, cos), tf.mul(im, sin)), tf.add(tf.mul(re, sin), tf.mul(im, cos))], 2);
  // Stage 2 along b, re and im at once. [R * coarse, 2 * fine] x [2 * fine, 2 * rows] -> [R * coarse, 2 * rows]
  const last = fourierFactors(column(fine), row(rows), fine);
  const second = tf.concat([tf.concat([last.cos, last.sin], 1), tf.concat([tf.neg(last.sin), last.cos], 1)], 0);
  const bins = tf.square(tf.matMul(tf.reshape(turned, [-1, 2 * fine]), second));
  const [real, imaginary] = tf.split(bins, 2, 1);
  const power = tf.reshape(tf.mul(tf.add(real, imaginary), 1 / window), [-1, coarse, rows]);
  return tf.reshape(tf.transpose(power, [0, 2, 1]), [-1, coarse * rows]);
}

/** Frames side by side or half over one another. x: [R, window] -> [R, frames, 64] */
function cutFrames(x: tf.Tensor, window: number, hop: number): tf.Tensor {
  if (hop === FRAME) return tf.reshape(x, [-1, window / FRAME, FRAME]);
  if (hop !== FRAME / 2) throw new Error(`a hop of ${hop} samples; frames of ${FRAME} have ${FRAME / 2} or ${FRAME}`);
  const halves = tf.reshape(x, [-1, window / hop, hop]);
  const frames = window / hop - 1;
  return tf.concat([tf.slice(halves, [0, 0, 0], [-1, frames, hop]), tf.slice(halves, [0, 1, 0], [-1, frames, hop])], 2);
}

/** A Hann window as a column [length, 1]. */
function hann(length: number): tf.Tensor {
  return tf.sub(0.5, tf.mul(fourierFactors(column(length), tf.ones([1, 1]), length).cos, 0.5));
}

/** Power spectrum under a Hann window. x: [R, window] -> [R, window / 2]; 1 on average for white noise of unit variance */
function taperedSpectrum(x: tf.Tensor, window: number): tf.Tensor {
  const taper = tf.mul(tf.reshape(hann(window), [1, window]), 1 / Math.sqrt(HANN_POWER));
  return powerSpectrum(tf.mul(x, taper), window, window / 32);
}

/** Log powers of equal bands; 32 wide, so that every logarithm is taken alike. x: [R, window] -> [R, 32] */
function bandPowers(x: tf.Tensor, window: number): tf.Tensor {
  const bins = tf.reshape(taperedSpectrum(x, window), [-1, BANDS, window / 2 / BANDS]);
  return tf.log(tf.add(tf.mean(bins, 2), BAND_FLOOR));
}

/**
 * Spectra of the magnitudes of four bands, each with zero mean and unit deviation: log(power + 1), where 1 is white noise.
 *
 * Short filters stand for the analytic signal of each band (Hilbert transform): a small fraction of the products, and no worse on unseen
 * bearings.
 *
 * x: [R, window] -> [R, 4 * bins], band after band
 */
function demodulate(x: tf.Tensor, window: number): tf.Tensor {
  const { frame, hop, centres, floor } = DEMODULATION;
  const steps = tf.reshape(x, [-1, window / hop, hop]);
  const count = (window - frame) / hop + 1;
  const frames = tf.concat(
    Array.from({ length: frame / hop }, (_, step) => tf.slice(steps, [0, step, 0], [-1, count, hop])),
    2,
  );
  const shifted = fourierFactors(column(frame), tf.tensor2d([...centres], [1, centres.length]), frame);
  const filters = tf.mul(tf.concat([shifted.cos, shifted.sin], 1), hann(frame));
  const [re, im] = tf.split(tf.square(tf.matMul(tf.reshape(frames, [-1, frame]), filters)), 2, 1);
  const magnitude = tf.reshape(tf.sqrt(tf.add(tf.add(re, im), 1e-12)), [-1, count, centres.length]);
  const series = tf.reshape(tf.transpose(magnitude, [0, 2, 1]), [-1, count]);
  const centered = tf.sub(series, tf.mean(series, 1, true));
  const scaled = tf.div(centered, tf.sqrt(tf.add(tf.mean(tf.square(centered), 1, true), 1e-9)));
  const bins = demodulationBins(window);
  const { cos, sin } = fourierFactors(column(count), tf.add(row(bins), 1), window / hop);
  const [real, imaginary] = tf.split(tf.square(tf.matMul(scaled, tf.mul(tf.concat([cos, sin], 1), hann(count)))), 2, 1);
  const power = tf.mul(tf.add(real, imaginary), 1 / (HANN_POWER * count));
  return tf.reshape(tf.log(tf.add(power, floor)), [-1, centres.length * bins]);
}

/**
 * Logarithms of some numbers a window. onnxruntime takes logarithms of whole vector registers by another polynomial than those of the rest: a
 * row of a register's width keeps a window's logarithms from depending on its place in the batch.
 *
 * columns: [R, 1] each -> [R, columns]
 */
function logColumns(columns: readonly tf.Tensor[]): tf.Tensor {
  const padding = tf.broadcastTo(tf.add(tf.mul(columns[0], 0), 1), [columns[0].shape[0], REGISTER - columns.length]);
  return tf.slice(tf.log(tf.concat([...columns, padding], 1)), [0, 0], [-1, columns.length]);
}

/** Log power of Hann-windowed frames of 64 samples. x: [R, window] -> [R, frames, 32], without the bin at half the rate */
function frameSpectra(x: tf.Tensor, window: number, hop: number): tf.Tensor {
  const framed = cutFrames(x, window, hop);
  const bins = FRAME / 2;
  const { cos, sin } = fourierFactors(column(FRAME), row(bins), FRAME);
  const transform = tf.mul(tf.concat([cos, sin], 1), hann(FRAME));
  const squared = tf.square(tf.matMul(tf.reshape(framed, [-1, FRAME]), transform));
  const [re, im] = tf.split(squared, 2, 1);
  const power = tf.mul(tf.add(re, im), 1 / (HANN_POWER * FRAME));
  return tf.reshape(tf.log(tf.add(power, POWER_FLOOR)), [-1, framed.shape[1]!, bins]);
}

/** Puts the channels of one window side by side. x: [N * C, tokens, width] -> [N, tokens, C * width] */
function besideChannels(x: tf.Tensor, channels: number): tf.Tensor {
  const [, tokens, width] = x.shape as [number, number, number];
  if (channels === 1) return x;
  return tf.reshape(tf.transpose(tf.reshape(x, [-1, channels, tokens, width]), [0, 2, 1, 3]), [-1, tokens, channels * width]);
}

/**
 * Turns raw windows into features: each channel is z-scored within its window, then described by short-time spectra, one fine
 * spectrum, the spectrum of its rectified signal (amplitude modulation, as bearing faults show it), three statistics, or what else
 * {@link TokenKind} names.
 *
 * @param window samples, float32 [N, window, C] (int16 codes are cast by the graph)
 * @param scale physical units a code, [N, C]
 * @returns one tensor [N, tokens, width] for every part of {@link featureParts}
 */
export function frontEnd(window: tf.Tensor, scale: tf.Tensor, options: FrontEndOptions): tf.Tensor[] {
  const { channels, window: length } = options;
  const parts = featureParts(options);
  // [N, window, C] -> [N * C, window]
  const byChannel = tf.reshape(channels === 1 ? window : tf.transpose(window, [0, 2, 1]), [-1, length]);
  const centered = tf.sub(byChannel, tf.mean(byChannel, 1, true));
  const variance = tf.mean(tf.square(centered), 1, true);
  // A flat channel has no shape to show; the floor keeps it at zero instead of blowing up its rounding.
  const deviation = tf.sqrt(tf.add(variance, 1e-12));
  const x = tf.div(centered, deviation);

  const make: Record<TokenKind, () => tf.Tensor> = {
    frames: () => frameSpectra(x, length, options.hop),
    spectrum: () => tf.expandDims(tf.log(tf.add(powerSpectrum(x, length, length / 32), POWER_FLOOR)), 1),
    envelope: () => {
      const rectified = tf.abs(x);
      const envelope = tf.sub(rectified, tf.mean(rectified, 1, true));
      return tf.expandDims(tf.log(tf.add(powerSpectrum(envelope, length, ENVELOPE_ROWS), POWER_FLOOR)), 1);
    },
    statistics: () => {
      const rms = tf.add(tf.mul(deviation, tf.reshape(scale, [-1, 1])), 1e-6);
      const square = tf.square(x);
      const kurtosis = tf.add(tf.mean(tf.square(square), 1, true), POWER_FLOOR);
      const crest = tf.add(tf.max(square, 1, true), POWER_FLOOR);
      return tf.expandDims(logColumns([rms, kurtosis, crest]), 1);
    },
    patches: () => {
      const { tokens } = parts.find(({ kind }) => kind === 'patches')!;
      const whole = tokens * options.patch === length ? x : tf.slice(x, [0, 0], [-1, tokens * options.patch]);
      return tf.reshape(whole, [-1, tokens, options.patch]);
    },
    tapered: () => tf.expandDims(tf.log(tf.add(taperedSpectrum(x, length), POWER_FLOOR)), 1),
    bands: () => tf.expandDims(bandPowers(x, length), 1),
    demodulation: () => tf.expandDims(demodulate(x, length), 1),
    shape: () => {
      const square = tf.square(x);
      const size = tf.abs(x);
      const kurtosis = tf.add(tf.mean(tf.square(square), 1, true), POWER_FLOOR);
      const crest = tf.add(tf.max(size, 1, true), POWER_FLOOR);
      const mean = tf.add(tf.mean(size, 1, true), POWER_FLOOR);
      const [logKurtosis, logCrest, logMean] = tf.split(logColumns([kurtosis, crest, mean]), 3, 1);
      return tf.expandDims(tf.concat([tf.mean(tf.mul(x, square), 1, true), logKurtosis, logCrest, tf.neg(logMean)], 1), 1);
    },
  };
  return parts.map(({ kind }) => besideChannels(make[kind](), channels));
}

/** Mean and inverse deviation of every feature over the training set; kept in the model, not trained. */
export function statisticsSpecs(parts: readonly FeaturePart[]): ParameterSpec[] {
  return parts.flatMap(({ kind, width }) => [
    { name: `${kind}.mean`, shape: [width], initial: { fill: 0 } },
    { name: `${kind}.inverseDeviation`, shape: [width], initial: { fill: 1 } },
  ]);
}

/** features: [N, tokens, width] each -> the same, standardised. */
export function standardize(
  features: readonly tf.Tensor[],
  parts: readonly FeaturePart[],
  statistics: Record<string, tf.Tensor>,
): tf.Tensor[] {
  return parts.map(({ kind }, index) =>
    tf.mul(tf.sub(features[index], statistics[`${kind}.mean`]), statistics[`${kind}.inverseDeviation`]),
  );
}

export function featureCount(parts: readonly FeaturePart[]): number {
  return parts.reduce((sum, { tokens, width }) => sum + tokens * width, 0);
}

/** [N, tokens, width] each -> [N, F], part after part. */
export function flattenFeatures(features: readonly tf.Tensor[]): tf.Tensor {
  return tf.concat(
    features.map((part) => tf.reshape(part, [-1, part.shape[1]! * part.shape[2]!])),
    1,
  );
}

/** The way back of {@link flattenFeatures}. */
export function unflattenFeatures(flat: tf.Tensor, parts: readonly FeaturePart[]): tf.Tensor[] {
  const pieces = tf.split(
    flat,
    parts.map(({ tokens, width }) => tokens * width),
    1,
  );
  return parts.map(({ tokens, width }, index) => tf.reshape(pieces[index], [-1, tokens, width]));
}
