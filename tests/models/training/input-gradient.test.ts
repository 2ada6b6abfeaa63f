import { beforeAll, describe, expect, it } from 'vitest';
import { floatTensor, type Session } from '../../../models/engine/engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { LINEAR } from '../../../models/networks/linear-network.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInputGradient } from '../../../models/training/trace-input-gradient.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError } from '../../support/numbers.ts';

const SIZE = 512 * 2;

describe.each([
  { ...STUDENT, width: 16, feedForward: 32, layers: 1, channels: 2, classes: 3 },
  { ...BACKUP, width: 8, layers: 1, channels: 2, classes: 3 },
  { ...LINEAR, channels: 2, classes: 3 },
])('the gradient of the loss by the samples, $kind network', (options) => {
  const network = createNetwork(options);
  const weights = { parameters: network.parameters.initialize(new Random(1)), statistics: network.statistics.initialize(new Random(1)) };
  const random = new Random(3);
  // A scale other than 1, so that a forgotten one shows.
  const windows = Float32Array.from({ length: 3 * SIZE }, () => 100 * random.normal());
  const directions = Float32Array.from({ length: 3 * SIZE }, () => random.normal());

  let session: Session;
  beforeAll(async () => {
    session = await (await ENGINES.onnxruntime()).load({ graph: encodeOnnx(traceInputGradient(network, weights, 3)) });
  });

  async function run(samples: Float32Array, rows: readonly number[]) {
    const target = Float32Array.from(rows.flatMap((row) => [0, 1, 2].map((column) => (column === row % 3 ? 1 : 0))));
    const { loss, gradient, logits } = await session.run({
      window: floatTensor(samples, [rows.length, 512, 2]),
      scale: floatTensor(new Float32Array(2 * rows.length).fill(0.01), [rows.length, 2]),
      target: floatTensor(target, [rows.length, 3]),
    });
    return [loss, gradient, logits].map(({ values }) => values as Float32Array);
  }

  it('agrees with finite differences', async () => {
    const [, gradient] = await run(windows, [0, 1, 2]);
    // Short enough that the logarithms of weak spectral lines do not bend, long enough for float32.
    const step = 0.02;
    const [up] = await run(
      windows.map((value, at) => value + step * directions[at]),
      [0, 1, 2],
    );
    const [down] = await run(
      windows.map((value, at) => value - step * directions[at]),
      [0, 1, 2],
    );
    for (const row of [0, 1, 2]) {
      let slope = 0;
      for (let at = row * SIZE; at < (row + 1) * SIZE; at++) slope += gradient[at] * directions[at];
      const measured = (up[row] - down[row]) / (2 * step);
      expect(Math.abs(slope)).toBeGreaterThan(1e-5);
      expect(Math.abs(slope - measured) / Math.max(Math.abs(slope), 1e-3)).toBeLessThan(0.05);
    }
  });

  it('is of each window alone, and the loss is the cross-entropy of the logits', async () => {
    const [loss, gradient, logits] = await run(windows, [0, 1, 2]);
    // The same window beside others and in another place.
    const others = Float32Array.from([...windows.subarray(SIZE, 2 * SIZE), ...directions.subarray(0, 2 * SIZE)]);
    const [, moved] = await run(others, [1, 0, 0]);
    expect(largestError(moved.subarray(0, SIZE), gradient.subarray(SIZE, 2 * SIZE))).toBeLessThan(1e-6);
    const row = [...logits.subarray(3, 6)];
    const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
    expect(loss[1]).toBeCloseTo(total - row[1], 5);
  });
});
