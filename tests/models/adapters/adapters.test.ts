import { describe, expect, it } from 'vitest';
import { adaptedTargets, adapterLayout } from '../../../models/adapters/adapter.ts';
import { type AdapterScheme, bankRow, DEFAULT_SCHEME, loraScale } from '../../../models/adapters/scheme.ts';
import { floatTensor, type TensorData } from '../../../models/engine/engine.ts';
import { SPECTRAL_TOKENS, STUDENT } from '../../../models/networks/attention-network.ts';
import { createNetwork } from '../../../models/networks/index.ts';
import { BACKUP } from '../../../models/networks/mixer-network.ts';
import { Random } from '../../../models/networks/random.ts';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { traceInference } from '../../../models/training/trace-inference.ts';
import { ENGINES } from '../../support/engines.ts';
import { largestError, numbers } from '../../support/numbers.ts';

const network = createNetwork({ ...STUDENT, tokens: SPECTRAL_TOKENS, width: 16, feedForward: 24, channels: 1, classes: 3 });
const weights = { parameters: network.parameters.initialize(new Random(1)), statistics: network.statistics.initialize(new Random(1)) };

describe('the LoRA scale', () => {
  // reference: alpha 16 at ranks 4, 8, 16, 64, plain and rank-stabilised.
  it.each([
    [4, 4, 8],
    [8, 2, 5.6569],
    [16, 1, 4],
    [64, 0.25, 2],
  ])('at rank %i is %f, rank-stabilised %f', (rank, plain, stabilized) => {
    expect(loraScale({ alpha: 16, rank, rankStabilized: false })).toBeCloseTo(plain, 4);
    expect(loraScale({ alpha: 16, rank, rankStabilized: true })).toBeCloseTo(stabilized, 4);
  });
});

describe('target patterns', () => {
  const names = (targets: string[]) =>
    adaptedTargets({ kind: 'lora', rank: 2, alpha: 2, rankStabilized: true, targets }, network).map(({ name }) => name);

  it('name layers of every layer, of one layer, or all', () => {
    expect(names(['layer*.attention.q'])).toEqual(['layer0.attention.q', 'layer1.attention.q']);
    expect(names(['layer1.ffn.*', 'head'])).toEqual(['layer1.ffn.in', 'layer1.ffn.out', 'head']);
    expect(names(['embed.*'])).toEqual(['embed.frames', 'embed.spectrum', 'embed.envelope', 'embed.statistics']);
    expect(names(['*'])).toEqual(network.targets.map(({ name }) => name));
  });

  it('that fit nothing are refused, and name what there is', () => {
    expect(() => names(['layer*.attention.x'])).toThrow(/layer0\.attention\.q/);
    expect(() => names(['layer0.attention'])).toThrow(/fits no layer/);
  });

  it('of a prefix need attention', () => {
    expect(() => adapterLayout({ kind: 'prefix', length: 2 }, createNetwork({ ...BACKUP, channels: 1 }))).toThrow(/no attention/);
  });
});

const SCHEMES: Record<string, AdapterScheme> = {
  lora: DEFAULT_SCHEME,
  'lora everywhere': { kind: 'lora', rank: 2, alpha: 4, rankStabilized: false, targets: ['*'] },
  prefix: { kind: 'prefix', length: 4 },
  head: { kind: 'head' },
};

describe.each(Object.entries(SCHEMES))('a bank of %s adapters', (kind, scheme) => {
  const layout = adapterLayout(scheme, network);
  const adapters = [1, 2, 3].map((seed) => {
    const flat = layout.initialize(new Random(seed));
    // A new LoRA or head changes nothing: give it something to change.
    return kind === 'prefix' ? flat : flat.map((value, index) => value + 0.2 * Math.sin(seed * index));
  });
  const bank = floatTensor(
    Float32Array.from([...new Float32Array(layout.size), ...adapters.flatMap((flat) => [...bankRow(scheme, layout, flat)])]),
    [4, layout.size],
  );

  it('gives each window its own adapter at batch sizes 1, 4, 16 and 64, and slot 0 is the base itself', async () => {
    const engine = await ENGINES.onnxruntime();
    const options = { input: 'float32', reference: false, temperature: 1 } as const;
    const session = await engine.load({ graph: encodeOnnx(traceInference(network, { ...options, adapter: scheme }, weights)) });
    const base = await engine.load({ graph: encodeOnnx(traceInference(network, options, weights)) });
    const one = (row: number, adapter: number): Record<string, TensorData> => ({
      window: floatTensor(numbers(512, row + 1), [1, 512, 1]),
      scale: floatTensor(Float32Array.of(1), [1, 1]),
      adapterBank: bank,
      adapterIndex: { type: 'int32', shape: [1], values: Int32Array.of(adapter) },
    });
    const logits = async (feeds: Record<string, TensorData>, of = session) => (await of.run(feeds)).logits.values as Float32Array;
    for (const count of [1, 4, 16, 64]) {
      const rows = Array.from({ length: count }, (_, row) => row);
      const batch = await logits({
        window: floatTensor(Float32Array.from(rows.flatMap((row) => [...numbers(512, row + 1)])), [count, 512, 1]),
        scale: floatTensor(new Float32Array(count).fill(1), [count, 1]),
        adapterBank: bank,
        adapterIndex: { type: 'int32', shape: [count], values: Int32Array.from(rows, (row) => row % 4) },
      });
      for (const row of rows.slice(-8)) {
        expect(largestError(batch.subarray(3 * row, 3 * row + 3), await logits(one(row, row % 4))), `row ${row}`).toBeLessThan(1e-5);
      }
    }
    for (const row of [0, 1]) {
      expect(largestError(await logits(one(row, 0)), await logits(one(row, 0), base))).toBeLessThan(1e-6);
      expect(largestError(await logits(one(row, 1)), await logits(one(row, 0), base))).toBeGreaterThan(1e-3);
    }
    await session.release();
    await base.release();
  });
});
