import { emptyTensor, type TensorData } from '../../models/engine/engine.ts';
import type { ValueInfo } from '../../models/trace/graph.ts';

/** Samples of a whole step, and of each of the micro-batches that it is cut into. */
export interface PartShape {
  readonly batch: number;
  readonly partBatch: number;
}

/** One micro-batch of a step. */
export interface Part {
  readonly index: number;
  /** First sample of the batch that it holds. */
  readonly firstRow: number;
  /** What its loss and gradient weigh in those of the whole batch. */
  readonly share: number;
  /** Inputs that differ from those of the batch, by name. */
  readonly overrides: Readonly<Record<string, Float32Array>>;
}

const numbersOf = (tensor: TensorData) => tensor.values as Float32Array;

/**
 * Cuts a batch into micro-batches whose gradients, weighted by their shares, add up to the gradient of the whole batch.
 *
 * Cross-entropy is a mean by sample and class weight, distillation one by sample weight: a part's own mixture of the two is chosen so that
 * both come out right. The term that compares the embeddings of pairs of samples sees only the pairs within a part. Where the batch is no multiple, the
 * last part begins earlier and the samples that it has in common with the one before weigh nothing in it. Parts that weigh nothing are left out.
 *
 * @param feeds `target` [B, K], `sampleWeight` [B], `classWeight` [K], and, with a teacher, `distillationWeight`, perhaps `embeddingWeight`
 */
export function cutBatch(feeds: Readonly<Record<string, TensorData>>, { batch, partBatch }: PartShape): Part[] {
  const sampleWeight = numbersOf(feeds.sampleWeight);
  const [target, classWeight] = [numbersOf(feeds.target), numbersOf(feeds.classWeight)];
  const classes = classWeight.length;
  const distillation = feeds.distillationWeight ? numbersOf(feeds.distillationWeight)[0] : 0;
  const embedding = feeds.embeddingWeight && numbersOf(feeds.embeddingWeight)[0];
  /** Sums of sample weights and of sample times class weights over rows [from, to). */
  const sums = (from: number, to: number) => {
    let [plain, byClass] = [0, 0];
    for (let row = from; row < to; row++) {
      let weight = 0;
      for (let column = 0; column < classes; column++) weight += target[row * classes + column] * classWeight[column];
      plain += sampleWeight[row];
      byClass += sampleWeight[row] * weight;
    }
    return { plain, byClass };
  };
  const whole = sums(0, batch);
  const shareOf = (part: number, all: number) => (all > 0 ? part / all : 0);
  const parts: Part[] = [];
  for (let from = 0; from < batch; from += partBatch) {
    const firstRow = Math.min(from, batch - partBatch);
    const own = sums(from, Math.min(from + partBatch, batch));
    const supervised = (1 - distillation) * shareOf(own.byClass, whole.byClass);
    const plain = shareOf(own.plain, whole.plain);
    const share = supervised + distillation * plain;
    if (share === 0) continue;
    const overrides: Record<string, Float32Array> = {};
    if (feeds.distillationWeight) overrides.distillationWeight = Float32Array.of((distillation * plain) / share);
    if (embedding !== undefined) overrides.embeddingWeight = Float32Array.of((embedding * plain) / share);
    if (firstRow < from) overrides.sampleWeight = sampleWeight.slice(firstRow, firstRow + partBatch).fill(0, 0, from - firstRow);
    parts.push({ index: parts.length, firstRow, share, overrides });
  }
  return parts;
}

/** Memory for the inputs of one micro-batch, filled from those of the whole batch. */
export class PartFeeds {
  readonly #shape: PartShape;
  readonly #tensors: Record<string, TensorData>;

  /** @param inputs of the gradient graph; what the batch does not feed (`trainable`, `accumulated`) is left alone */
  constructor(inputs: readonly ValueInfo[], shape: PartShape) {
    this.#shape = shape;
    this.#tensors = Object.fromEntries(
      inputs
        .filter(({ name }) => name !== 'trainable' && name !== 'accumulated')
        .map(({ name, type, shape: sizes }) => [name, emptyTensor(type, sizes as readonly number[])]),
    );
  }

  /** @throws Error where an input is missing or is no whole batch of what the graph wants */
  fill(feeds: Readonly<Record<string, Pick<TensorData, 'shape' | 'values'>>>, { firstRow, overrides }: Part): Record<string, TensorData> {
    const { batch, partBatch } = this.#shape;
    for (const [name, part] of Object.entries(this.#tensors)) {
      const whole = feeds[name];
      if (!whole) throw new Error(`graph input ${name} is missing`);
      const into = part.values as Float32Array;
      const from = whole.values as Float32Array;
      if (overrides[name]) into.set(overrides[name]);
      else if (whole.values.length === into.length) into.set(from);
      else {
        // The axis of the samples, which may lie behind others ([sites, B * tokens, width]) and may count tokens.
        const axis = part.shape.findIndex((size, at) => size !== whole.shape[at]);
        const [size, all] = [part.shape[axis], whole.shape[axis]];
        if (size * batch !== all * partBatch) throw new Error(`graph input ${name} is [${whole.shape}], no whole batch of [${part.shape}]`);
        const outer = part.shape.slice(0, axis).reduce((product, dim) => product * dim, 1);
        const inner = into.length / outer / size;
        const first = (firstRow * all) / batch;
        for (let block = 0; block < outer; block++) {
          const start = (block * all + first) * inner;
          into.set(from.subarray(start, start + size * inner), block * size * inner);
        }
      }
    }
    return this.#tensors;
  }
}

/** sum += share * values, element by element; always in this order, so that the same parts give the same bits. */
export function addShare(sum: Float32Array, values: Float32Array, share: number): void {
  for (let index = 0; index < sum.length; index++) sum[index] += share * values[index];
}
