import { describe, expect, it } from 'vitest';
import { Random } from '../../../models/networks/random.ts';
import { symmetricEigen } from '../../../trainer/evaluate/eigen.ts';
import { auroc, conformalThreshold, fitMahalanobis, noveltyScores } from '../../../trainer/evaluate/novelty.ts';
import { noveltyDecision } from '../../../trainer/evaluate/novelty-training.ts';
import { Refusal } from '../../../trainer/refusal.ts';
import { numbers } from '../../support/numbers.ts';

describe('eigenvalues', () => {
  it('of a worked example', () => {
    const { values, vectors } = symmetricEigen(Float64Array.of(2, 1, 1, 2), 2);
    expect([...values].map((value) => Number(value.toFixed(12)))).toEqual([3, 1]);
    expect(vectors[0]).toBeCloseTo(vectors[2], 12);
    expect(vectors[1]).toBeCloseTo(-vectors[3], 12);
  });

  it('give the matrix back', () => {
    const n = 17;
    const half = numbers(n * n, 5);
    const matrix = Float64Array.from({ length: n * n }, (_, at) => half[at] + half[(at % n) * n + Math.floor(at / n)]);
    const { values, vectors } = symmetricEigen(matrix, n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let [sum, unit] = [0, 0];
        for (let k = 0; k < n; k++) {
          sum += vectors[i * n + k] * values[k] * vectors[j * n + k];
          unit += vectors[k * n + i] * vectors[k * n + j];
        }
        expect(sum).toBeCloseTo(matrix[i * n + j], 9);
        expect(unit).toBeCloseTo(i === j ? 1 : 0, 9);
      }
    }
    expect([...values]).toEqual([...values].sort((a, b) => b - a));
  });
});

describe('AUROC', () => {
  it('counts pairs, ties half', () => {
    expect(auroc(Float32Array.of(1, 2, 3), Float32Array.of(4, 5))).toBe(1);
    expect(auroc(Float32Array.of(4, 5), Float32Array.of(1, 2, 3))).toBe(0);
    expect(auroc(Float32Array.of(1, 1), Float32Array.of(1, 1, 1))).toBe(0.5);
    expect(auroc(Float32Array.of(1, 3), Float32Array.of(2, 3))).toBe((1 + 0 + 1 + 0.5) / 4);
  });
});

describe('a conformal threshold', () => {
  it('is the ceil((n + 1)(1 - share))-th lowest score', () => {
    const scores = Float32Array.from({ length: 99 }, (_, index) => ((index * 37) % 99) + 1);
    expect(conformalThreshold(scores, 0.01)).toBe(99);
    expect(conformalThreshold(scores, 0.1)).toBe(90);
    expect(conformalThreshold(scores.subarray(0, 50), 0.01)).toBe(Number.POSITIVE_INFINITY);
  });

  it('keeps its share over many calibrations', () => {
    const random = new Random(1);
    const draw = (count: number) => Float32Array.from({ length: count }, () => random.normal());
    let alarms = 0;
    for (let round = 0; round < 400; round++) {
      const threshold = conformalThreshold(draw(99), 0.05);
      alarms += draw(50).filter((score) => score > threshold).length;
    }
    // 20,000 windows in 400 groups: three standard errors are about 0.004.
    expect(alarms / 20_000).toBeLessThan(0.054);
    expect(alarms / 20_000).toBeGreaterThan(0.046);
  });
});

/** Two kinds of known windows: stretched Gaussians about two directions in 6 dimensions. */
function known(count: number, seed: number): { embeddings: Float32Array; labels: Int32Array } {
  const random = new Random(seed);
  const labels = Int32Array.from({ length: count }, (_, row) => row % 2);
  const embeddings = Float32Array.from({ length: 6 * count }, (_, at) => {
    const [row, column] = [Math.floor(at / 6), at % 6];
    return (column === labels[row] ? 10 : 0) + (column === 5 ? 1 : 0.1) * random.normal();
  });
  return { embeddings, labels };
}

describe('the distance from what is known', () => {
  const { embeddings, labels } = known(600, 1);
  const fit = fitMahalanobis(embeddings, labels, { most: { means: 2 } });

  it('has the rank of the embedding in its middle, whatever the spread of its directions', () => {
    const scores = noveltyScores(fit, known(400, 2).embeddings);
    const squares = scores.reduce((sum, score) => sum + score ** 2 / scores.length, 0);
    expect(squares).toBeGreaterThan(4.5);
    expect(squares).toBeLessThan(7.5);
    // Two deviations along the wide direction are nothing; as far along a narrow one is new.
    const [wide, narrow] = noveltyScores(fit, Float32Array.of(10, 0, 0, 0, 0, 2, 10, 0, 2, 0, 0, 0));
    expect(wide).toBeLessThan(3);
    expect(narrow).toBeGreaterThan(10);
  });

  it('is small for either known kind, large between them, and blind to loudness', () => {
    const [one, other, between, loud] = noveltyScores(
      fit,
      Float32Array.of(10, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 5, 5, 0, 0, 0, 0, 1000, 0, 0, 0, 0, 0),
    );
    expect(Math.max(one, other)).toBeLessThan(1);
    expect(between).toBeGreaterThan(10);
    expect(loud).toBeCloseTo(one, 3);
  });

  it('takes several means a class where there is room, each within what it stands for', () => {
    const single = new Int32Array(labels.length);
    const several = fitMahalanobis(embeddings, single, { most: { means: 4 } });
    expect(several.mean).toHaveLength(4 * 6);
    for (let row = 0; row < 4; row++) {
      const [first, second] = several.mean.subarray(6 * row, 6 * row + 2);
      expect(Math.max(first, second)).toBeGreaterThan(0.95);
      expect(Math.min(first, second)).toBeLessThan(0.05);
    }
    expect(fitMahalanobis(embeddings, single, { most: { means: 4 } })).toEqual(several);
    // As many as fit, shared out among the classes; one each where they are more.
    expect(fitMahalanobis(embeddings, labels, { most: { means: 7 } }).mean).toHaveLength(6 * 6);
    expect(fitMahalanobis(embeddings, labels, { most: { means: 1 } }).mean).toHaveLength(2 * 6);
  });

  it('shrinks much with few windows and little with many, and never fails on directions that do not move', () => {
    const few = fitMahalanobis(known(10, 3).embeddings, known(10, 3).labels, { most: { means: 2 } });
    expect(few.shrinkage).toBeGreaterThan(fit.shrinkage);
    expect(fit.shrinkage).toBeGreaterThan(0);
    expect(fit.shrinkage).toBeLessThan(0.1);
    const still = new Float32Array(6 * 20).fill(1);
    const scores = noveltyScores(fitMahalanobis(still, new Int32Array(20)), Float32Array.of(1, 1, 1, 1, 1, 1, -1, 1, 1, 1, 1, 1));
    expect(scores[0]).toBeCloseTo(0, 3);
    expect(scores[1]).toBeGreaterThan(scores[0]);
    expect(scores.every(Number.isFinite)).toBe(true);
  });

  it('refuses an embedding that no covariance fits', () => {
    expect(() => fitMahalanobis(new Float32Array(2 * 600), new Int32Array(2))).toThrow(RangeError);
  });
});

describe('a novelty decision', () => {
  it('gives even odds at the threshold and the stated share at the median', () => {
    const scores = Float32Array.from({ length: 199 }, (_, index) => index);
    const { threshold, slope } = noveltyDecision(scores, 0.05);
    const probability = (score: number) => 1 / (1 + Math.exp(-slope * (score - threshold)));
    expect(threshold).toBe(conformalThreshold(scores, 0.05));
    expect(probability(threshold)).toBe(0.5);
    expect(probability(99)).toBeCloseTo(0.05, 9);
  });

  it('refuses to promise a share that too few windows can show', () => {
    expect(() => noveltyDecision(new Float32Array(98), 0.01)).toThrow(Refusal);
    expect(noveltyDecision(new Float32Array(99), 0.01).threshold).toBe(0);
  });
});
