import { Random } from '../../models/networks/random.ts';
import { argmaxRows } from './metrics.ts';

export interface ForestOptions {
  readonly trees: number;
  readonly seed: number;
  /** Called after every tree with the share that is done. */
  readonly onProgress?: (share: number) => void;
  /** Looked at between two trees. */
  readonly signal?: AbortSignal;
}

/** Trees between two turns of the event loop, which lets signals and progress bars through. */
const TREES_A_TURN = 8;

/** One tree; node 0 is the root. */
interface Tree {
  /** Feature that a node looks at; -1 in a leaf. */
  readonly feature: Int32Array;
  /** A row goes left where its feature is at most this. */
  readonly threshold: Float32Array;
  /** Left child; the right one is the next node. In a leaf, its row of `shares`. */
  readonly next: Int32Array;
  /** Classes' shares of the training rows in a leaf: [leaves, classes]. */
  readonly shares: Float32Array;
}

/**
 * Random forest (Breiman 2001): classification trees (CART, Gini impurity, grown until pure) on bootstrap samples, each split out of the
 * best of sqrt(width) features drawn anew; the trees' leaf shares are averaged. Features need no scaling.
 */
export class RandomForest {
  readonly classes: number;
  readonly width: number;
  readonly #trees: readonly Tree[];

  private constructor(width: number, classes: number, trees: readonly Tree[]) {
    [this.width, this.classes, this.#trees] = [width, classes, trees];
  }

  /**
   * @param features row-major [rows, width]
   * @param labels class index a row
   */
  static async train(features: Float32Array, labels: Int32Array, classes: number, options: ForestOptions): Promise<RandomForest> {
    const random = new Random(options.seed);
    const columns = rankColumns(features, labels.length);
    const trees: Tree[] = [];
    for (let index = 0; index < options.trees; index++) {
      options.signal?.throwIfAborted();
      trees.push(new TreeGrower(columns, labels, classes, random).grow());
      options.onProgress?.((index + 1) / options.trees);
      if (index % TREES_A_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return new RandomForest(columns.length, classes, trees);
  }

  /** features: [rows, width] -> mean leaf shares [rows, classes] */
  probabilities(features: Float32Array): Float32Array {
    const { width, classes } = this;
    const rows = features.length / width;
    const sums = new Float32Array(rows * classes);
    for (const { feature, threshold, next, shares } of this.#trees) {
      for (let row = 0; row < rows; row++) {
        let node = 0;
        while (feature[node] >= 0) node = next[node] + (features[row * width + feature[node]] <= threshold[node] ? 0 : 1);
        const leaf = next[node] * classes;
        for (let column = 0; column < classes; column++) sums[row * classes + column] += shares[leaf + column];
      }
    }
    return sums.map((value) => value / this.#trees.length);
  }

  /** features: [rows, width] -> class index a row */
  decide(features: Float32Array): Int32Array {
    return argmaxRows(this.probabilities(features), this.classes);
  }
}

/** A feature as the growing sees it: places in the order of its distinct values, so that nodes sort whole numbers. */
interface RankedColumn {
  /** Place of each row's value, [rows]. */
  readonly rank: Uint32Array;
  /** The distinct values in order. */
  readonly values: Float32Array;
}

function rankColumns(features: Float32Array, rows: number): RankedColumn[] {
  const width = features.length / rows;
  return Array.from({ length: width }, (_, column) => {
    const values = Float32Array.from({ length: rows }, (_, row) => features[row * width + column]);
    const distinct = Float32Array.from(new Set(values)).sort();
    const places = new Map(Array.from(distinct, (value, place) => [value, place]));
    return { rank: Uint32Array.from(values, (value) => places.get(value)!), values: distinct };
  });
}

interface Split {
  readonly feature: number;
  /** Largest rank that goes left. */
  readonly rank: number;
  readonly threshold: number;
}

/** Grows one tree on a bootstrap sample. */
class TreeGrower {
  readonly #columns: readonly RankedColumn[];
  readonly #labels: Int32Array;
  readonly #classes: number;
  readonly #random: Random;
  /** Rows of the bootstrap sample; every node owns a stretch of it. */
  readonly #sample: Int32Array;
  /** Rank and label of a node's rows in one number: sorting by it sorts by the feature. */
  readonly #keys: Uint32Array;
  readonly #labelBits: number;
  readonly #candidates: Int32Array;
  readonly #left: Float64Array;
  readonly #right: Float64Array;

  constructor(columns: readonly RankedColumn[], labels: Int32Array, classes: number, random: Random) {
    [this.#columns, this.#labels, this.#classes, this.#random] = [columns, labels, classes, random];
    this.#sample = Int32Array.from(labels, () => random.below(labels.length));
    this.#keys = new Uint32Array(labels.length);
    this.#labelBits = Math.ceil(Math.log2(Math.max(2, classes)));
    if (labels.length > 2 ** (32 - this.#labelBits)) throw new RangeError(`${labels.length} rows are too many for ${classes} classes`);
    this.#candidates = Int32Array.from(columns, (_, index) => index);
    this.#left = new Float64Array(classes);
    this.#right = new Float64Array(classes);
  }

  grow(): Tree {
    const feature: number[] = [-1];
    const threshold: number[] = [0];
    const next: number[] = [0];
    const shares: number[] = [];
    const open: [node: number, from: number, to: number][] = [[0, 0, this.#sample.length]];
    for (let entry = open.pop(); entry; entry = open.pop()) {
      const [node, from, to] = entry;
      const split = this.#bestSplit(from, to);
      if (!split) {
        next[node] = shares.length / this.#classes;
        this.#count(from, to);
        for (const count of this.#right) shares.push(count / (to - from));
        continue;
      }
      const middle = this.#partition(from, to, split);
      feature[node] = split.feature;
      threshold[node] = split.threshold;
      next[node] = feature.length;
      for (const [begin, end] of [
        [from, middle],
        [middle, to],
      ]) {
        open.push([feature.length, begin, end]);
        feature.push(-1);
        threshold.push(0);
        next.push(0);
      }
    }
    return {
      feature: Int32Array.from(feature),
      threshold: Float32Array.from(threshold),
      next: Int32Array.from(next),
      shares: Float32Array.from(shares),
    };
  }

  /** Counts the classes of a stretch into #right; true where there is only one. */
  #count(from: number, to: number): boolean {
    const counts = this.#right.fill(0);
    for (let at = from; at < to; at++) counts[this.#labels[this.#sample[at]]]++;
    return counts[this.#labels[this.#sample[from]]] === to - from;
  }

  /** Looks at sqrt(width) features that vary within the stretch; none where it is pure or all its rows are alike. */
  #bestSplit(from: number, to: number): Split | undefined {
    if (this.#count(from, to)) return undefined;
    const total = this.#right.slice();
    const wanted = Math.max(1, Math.floor(Math.sqrt(this.#columns.length)));
    let best: Split | undefined;
    let bestScore = Number.NEGATIVE_INFINITY;
    let looked = 0;
    for (let drawn = 0; drawn < this.#candidates.length && looked < wanted; drawn++) {
      const other = drawn + this.#random.below(this.#candidates.length - drawn);
      const feature = this.#candidates[other];
      this.#candidates[other] = this.#candidates[drawn];
      this.#candidates[drawn] = feature;
      const keys = this.#sortedKeys(feature, from, to);
      if (keys[0] >>> this.#labelBits === keys[keys.length - 1] >>> this.#labelBits) continue;
      looked++;
      const found = this.#bestPlace(keys, total);
      if (found.score > bestScore) {
        bestScore = found.score;
        const { values } = this.#columns[feature];
        const [low, high] = [values[found.rank], values[found.nextRank]];
        const middle = Math.fround(low + (high - low) / 2);
        best = { feature, rank: found.rank, threshold: middle < high ? middle : low };
      }
    }
    return best;
  }

  #sortedKeys(feature: number, from: number, to: number): Uint32Array {
    const { rank } = this.#columns[feature];
    const keys = this.#keys.subarray(0, to - from);
    for (let at = from; at < to; at++) {
      const row = this.#sample[at];
      keys[at - from] = ((rank[row] << this.#labelBits) | this.#labels[row]) >>> 0;
    }
    return keys.sort();
  }

  /**
   * The cut between two ranks with the least Gini impurity: the largest sum over both sides of (squared class counts / rows).
   * keys: sorted; total: class counts of the stretch
   */
  #bestPlace(keys: Uint32Array, total: Float64Array): { score: number; rank: number; nextRank: number } {
    const [bits, mask] = [this.#labelBits, (1 << this.#labelBits) - 1];
    const left = this.#left.fill(0);
    const right = this.#right;
    right.set(total);
    let [leftSquares, rightSquares] = [0, 0];
    for (const count of total) rightSquares += count * count;
    let best = { score: Number.NEGATIVE_INFINITY, rank: 0, nextRank: 0 };
    for (let at = 0; at < keys.length - 1; at++) {
      const label = keys[at] & mask;
      leftSquares += 2 * left[label]++ + 1;
      rightSquares -= 2 * right[label]-- - 1;
      const rank = keys[at] >>> bits;
      const nextRank = keys[at + 1] >>> bits;
      if (rank === nextRank) continue;
      const score = leftSquares / (at + 1) + rightSquares / (keys.length - at - 1);
      if (score > best.score) best = { score, rank, nextRank };
    }
    return best;
  }

  /** Puts the rows that go left first; returns where the others begin. */
  #partition(from: number, to: number, { feature, rank: limit }: Split): number {
    const { rank } = this.#columns[feature];
    const sample = this.#sample;
    let middle = from;
    for (let at = from; at < to; at++) {
      const row = sample[at];
      if (rank[row] > limit) continue;
      sample[at] = sample[middle];
      sample[middle++] = row;
    }
    return middle;
  }
}
