import { describe, expect, it } from 'vitest';
import { RandomForest } from '../../../trainer/evaluate/forest.ts';
import { numbers } from '../../support/numbers.ts';

const shareRight = (decided: Int32Array, labels: Int32Array) =>
  decided.filter((label, row) => label === labels[row]).length / labels.length;

describe('a random forest', () => {
  it('gives two rows of two classes three quarters each', async () => {
    // A bootstrap sample of two has both rows in half of all cases, and each alone in a quarter.
    const forest = await RandomForest.train(Float32Array.of(0, 1), Int32Array.of(0, 1), 2, { trees: 4000, seed: 1 });
    const [p00, , p10] = forest.probabilities(Float32Array.of(0, 1));
    expect(p00).toBeCloseTo(0.75, 1);
    expect(p10).toBeCloseTo(0.25, 1);
  });

  it('cuts half-way between the values of neighbouring rows', async () => {
    // Samples that hold both rows cut at 5; the others answer with one class everywhere: 1/2 + 1/4.
    const forest = await RandomForest.train(Float32Array.of(2, 8), Int32Array.of(0, 1), 2, { trees: 2000, seed: 2 });
    const probability = (x: number) => forest.probabilities(Float32Array.of(x))[0];
    expect(probability(4.99)).toBe(probability(-100));
    expect(probability(5.01)).toBe(probability(100));
    expect(probability(4.99)).toBeGreaterThan(0.7);
    expect(probability(5.01)).toBeLessThan(0.3);
  });

  it('keeps the classes of rows that no feature tells apart', async () => {
    const forest = await RandomForest.train(new Float32Array(8), Int32Array.of(0, 0, 0, 1), 2, { trees: 2000, seed: 3 });
    expect(forest.probabilities(new Float32Array(2))[0]).toBeCloseTo(0.75, 1);
  });

  it('learns what no plane separates, and finds it among useless features', async () => {
    const [rows, width] = [400, 9];
    const features = numbers(rows * width, 11);
    // Exclusive or of two of nine features.
    const labels = Int32Array.from({ length: rows }, (_, row) => (features[row * width] > 0 !== features[row * width + 4] > 0 ? 1 : 0));
    const forest = await RandomForest.train(features.subarray(0, 300 * width), labels.subarray(0, 300), 2, { trees: 100, seed: 1 });
    expect(shareRight(forest.decide(features.subarray(0, 300 * width)), labels.subarray(0, 300))).toBe(1);
    expect(shareRight(forest.decide(features.subarray(300 * width)), labels.subarray(300))).toBeGreaterThan(0.75);
  });

  it('is the same for the same seed, and blind to the unit of a feature', async () => {
    const features = numbers(600, 5);
    const labels = Int32Array.from({ length: 200 }, (_, row) => (features[3 * row] + features[3 * row + 1] > 0 ? 1 : 0));
    const grow = async (x: Float32Array, seed: number) => (await RandomForest.train(x, labels, 2, { trees: 30, seed })).probabilities(x);
    const once = await grow(features, 4);
    expect(await grow(features, 4)).toEqual(once);
    expect(await grow(features, 5)).not.toEqual(once);
    expect(
      await grow(
        features.map((value) => 16 * value),
        4,
      ),
    ).toEqual(once);
  });

  it('reports every tree and stops when it is told to', async () => {
    const shares: number[] = [];
    const stop = new AbortController();
    const growing = RandomForest.train(
      numbers(60, 5),
      Int32Array.from({ length: 20 }, (_, row) => row % 2),
      2,
      {
        trees: 50,
        seed: 1,
        signal: stop.signal,
        onProgress: (share) => {
          shares.push(share);
          if (shares.length === 3) stop.abort();
        },
      },
    );
    await expect(growing).rejects.toThrow(/abort/);
    expect(shares).toEqual([1 / 50, 2 / 50, 3 / 50]);
  });
});
