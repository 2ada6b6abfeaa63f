import { describe, expect, it } from 'vitest';
import { createOnnxruntimeEngine } from '../../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../../models/networks/attention-network.ts';
import { cutWindows } from '../../../trainer/data/windows.ts';
import { argmaxRows, metricsOf } from '../../../trainer/evaluate/metrics.ts';
import { runNetwork } from '../../../trainer/train/run-windows.ts';
import { DEFAULT_SETTINGS, type TrainRequest, type TrainState, trainNetwork } from '../../../trainer/train/train-network.ts';
import { TINY_CLASSES, tinyRecordings } from '../../support/tiny-bundle.ts';

const options = { ...STUDENT, width: 16, heads: 2, headDepth: 8, layers: 1, feedForward: 16, channels: 2, classes: 3 };
const recordings = tinyRecordings(4, 1);
const held = cutWindows(tinyRecordings(2, 9), TINY_CLASSES, 512, 256);

function request(more: Partial<TrainRequest> = {}): TrainRequest {
  const settings = { ...DEFAULT_SETTINGS, steps: 40, batch: 24, learningRate: 5e-3, warmUp: 5, averaging: 0.9 };
  return { options, recordings, classes: TINY_CLASSES, settings, validation: held, ...more };
}

const sameNumbers = (a: Float32Array, b: Float32Array) => expect(Buffer.from(a.buffer).equals(Buffer.from(b.buffer))).toBe(true);

describe('training a network', { timeout: 60_000 }, () => {
  it('learns what can be learned, and its curve says so', async () => {
    const engine = await createOnnxruntimeEngine();
    const trained = await trainNetwork(engine, request());
    const { logits } = await runNetwork(engine, trained, held);
    expect(metricsOf(held.labels, argmaxRows(logits, 3), 3).accuracy).toBeGreaterThan(0.95);
    expect(trained.curve.at(-1)).toMatchObject({ step: 40, validationAccuracy: expect.closeTo(1, 1) });
  });

  it('gives the same bits for the same seed, and others for another', async () => {
    const engine = await createOnnxruntimeEngine();
    const [one, two] = [await trainNetwork(engine, request()), await trainNetwork(engine, request())];
    sameNumbers(one.weights.parameters, two.weights.parameters);
    const other = await trainNetwork(engine, request({ settings: { ...request().settings, seed: 2 } }));
    expect(other.weights.parameters).not.toEqual(one.weights.parameters);
  });

  it('goes on after an interrupt to the very bits of an uninterrupted run', async () => {
    const engine = await createOnnxruntimeEngine();
    const whole = await trainNetwork(engine, request());
    const abort = new AbortController();
    let kept: TrainState | undefined;
    const checkpoint = {
      load: async () => kept,
      save: async (state: TrainState) => {
        kept = state;
      },
    };
    const broken = trainNetwork(
      engine,
      request({ checkpoint, signal: abort.signal, onProgress: ({ step }) => step === 17 && abort.abort(new Error('Ctrl-C')) }),
    );
    await expect(broken).rejects.toThrow('Ctrl-C');
    expect(kept?.optimizer.steps).toBe(17);
    const resumed = await trainNetwork(engine, request({ checkpoint }));
    sameNumbers(resumed.weights.parameters, whole.weights.parameters);
    expect(resumed.curve).toEqual(whole.curve);
  });

  it('stops when validation no longer gets better, and not before', async () => {
    const engine = await createOnnxruntimeEngine();
    // A rate that destroys: the loss on validation is lowest at the first measure.
    const settings = { ...request().settings, steps: 1000, learningRate: 1, averaging: 0, patience: 2 };
    const trained = await trainNetwork(engine, request({ settings }));
    expect(trained.stoppedEarly).toBe(true);
    const losses = trained.curve.map(({ validationLoss }) => validationLoss!);
    expect(Math.min(...losses.slice(-2))).toBeGreaterThanOrEqual(Math.min(...losses.slice(0, -2)));
    const patient = await trainNetwork(engine, request({ settings: { ...settings, steps: 300, patience: 0 } }));
    expect(patient.stoppedEarly).toBe(false);
    expect(patient.steps).toBe(300);
  });

  it('makes fewer steps where the time is short', async () => {
    const engine = await createOnnxruntimeEngine();
    const settings = { ...request().settings, steps: 100_000 };
    const trained = await trainNetwork(engine, request({ settings, budgetSeconds: 0.01 }));
    expect(trained.steps).toBe(30);
    expect(trained.curve.at(-1)?.step).toBe(30);
  });

  it('distils: a student of soft targets alone comes to agree with its teacher', async () => {
    const engine = await createOnnxruntimeEngine();
    const teacher = await trainNetwork(engine, request());
    const agreement = async (embedding: number, steps: number) => {
      const settings = { ...request().settings, steps, seed: 5 };
      const student = await trainNetwork(engine, request({ settings, distillation: { teacher, temperature: 2, weight: 1, embedding } }));
      const [one, two] = [await runNetwork(engine, student, held), await runNetwork(engine, teacher, held)];
      let difference = 0;
      for (let index = 0; index < one.logits.length; index++)
        difference += Math.abs(one.logits[index] - two.logits[index]) / one.logits.length;
      return { difference, mismatch: cosineMismatch(one.embeddings, two.embeddings, held.count) };
    };
    const [barely, well, alike] = [await agreement(0, 2), await agreement(0, 60), await agreement(20, 60)];
    expect(well.difference).toBeLessThan(barely.difference / 2);
    expect(alike.mismatch).toBeLessThan(well.mismatch);
  });
});

/** Mean squared difference of all cosines between rows. */
function cosineMismatch(a: Float32Array, b: Float32Array, rows: number): number {
  const cosines = (x: Float32Array) => {
    const width = x.length / rows;
    const dot = (i: number, j: number) => {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += x[i * width + k] * x[j * width + k];
      return sum;
    };
    return (i: number, j: number) => dot(i, j) / Math.sqrt(dot(i, i) * dot(j, j));
  };
  const [one, two] = [cosines(a), cosines(b)];
  let sum = 0;
  for (let i = 0; i < rows; i++) for (let j = 0; j < rows; j++) sum += (one(i, j) - two(i, j)) ** 2;
  return sum / rows ** 2;
}
