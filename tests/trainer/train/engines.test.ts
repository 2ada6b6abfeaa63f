import { describe, expect, it } from 'vitest';
import { encodeOnnx } from '../../../models/trace/onnx.ts';
import { TrainingStepper } from '../../../models/training/stepper.ts';
import { traceTrainingStep } from '../../../models/training/trace-training.ts';
import { Refusal } from '../../../trainer/refusal.ts';
import { ENGINE_NAMES, openEngine } from '../../../trainer/train/engines.ts';
import { feedsOf, network, RATES, trainingOf, weights } from './feeds.ts';

const refused = async (opening: Promise<unknown>) => {
  const error = await opening.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Refusal);
  const { code, message } = error as Refusal;
  expect(message).not.toContain('\n');
  return { code, message };
};

describe('an engine by name', () => {
  it.each(['onnx', 'wasm', 'cpu'] as const)('%s takes a training step', async (name) => {
    const engine = await openEngine(name);
    const session = await engine.load({ graph: encodeOnnx(traceTrainingStep(network, trainingOf(4), weights)) });
    const stepper = new TrainingStepper(session, weights.parameters);
    const losses = [];
    for (let step = 0; step < 4; step++) losses.push((await stepper.step(feedsOf(4), RATES)).loss);
    expect(losses.at(-1)).toBeLessThan(losses[0]);
    await stepper.release();
  });

  it('tfjs-node says what to do where its native library is missing', async ({ skip }) => {
    const opening = openEngine('tfjs-node');
    if (
      await opening.then(
        () => true,
        () => false,
      )
    )
      skip('tfjs-node is installed here');
    expect(await refused(opening)).toMatchObject({
      code: 'engine/missing',
      message: expect.stringContaining('npm rebuild @tensorflow/tfjs-node'),
    });
  });

  it('CUDA says why it cannot be used', async ({ skip }) => {
    const opening = openEngine('onnx', { provider: 'cuda' });
    if (
      await opening.then(
        () => true,
        () => false,
      )
    )
      skip('onnxruntime-node finds CUDA here');
    expect(await refused(opening)).toMatchObject({ code: 'engine/missing', message: expect.stringContaining('CUDA') });
  });

  it.each(ENGINE_NAMES.filter((name) => name !== 'onnx'))('%s has no CUDA', async (name) => {
    expect(await refused(openEngine(name, { provider: 'cuda' }))).toMatchObject({ code: 'engine/provider' });
  });

  it.each(ENGINE_NAMES)('%s refuses fp16, which no processor computes faster', async (name) => {
    const { code, message } = await refused(openEngine(name, { precision: 'fp16' }));
    expect(code).toBe('engine/precision');
    expect(message).toMatch(/fp32.*CUDA/);
  });
});
