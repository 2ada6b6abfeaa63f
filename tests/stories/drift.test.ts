import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { BEARINGS, createMachine, type Machine, MachineSimulator } from '../../firmware-bridge/simulator/pure/index.ts';
import { driftSignalSchema } from '../../runtime/contracts/drift.ts';
import { DriftService, type DriftServiceOptions } from '../../runtime/io/drift-service.ts';
import { Pseudonyms } from '../../runtime/io/pseudonyms.ts';
import { ShippedModel } from '../support/simulated-stream.ts';

const fail = (error: Error) => {
  throw error;
};

/** Windows from which a baseline is taken, and some to spare. */
const LEARNED = 270;
const MACHINE = createMachine({ seed: 8 });

let model: ShippedModel;
let pseudonyms: Pseudonyms;
beforeAll(async () => {
  model = await ShippedModel.load();
  pseudonyms = await Pseudonyms.open(join(await mkdtemp(join(tmpdir(), 'tremolo-drift-')), 'key'), fail);
});

function watch(more: Partial<DriftServiceOptions> = {}): DriftService {
  return new DriftService({
    manifest: model.manifest,
    runLength: 20_000,
    evidence: 'features',
    evidenceWindows: 4,
    names: 'stream',
    pseudonyms,
    model: 'digest',
    adapterOf: () => undefined,
    copyWindow: model.copyWindow,
    ...more,
  });
}

function run(machine: Machine, condition: 'normal' | 'bearing_outer' = 'normal', seed = 8): (samples: Float32Array) => void {
  const simulator = new MachineSimulator({ machine, condition, severity: 0.8, seed });
  return (samples) => simulator.next(samples);
}

describe('a machine that the model knows', () => {
  it('is said once to run at another speed, which is nothing to repair', async () => {
    const service = watch();
    expect(await model.feed(service, 'fan', LEARNED, run(MACHINE))).toEqual([]);
    const slower = { ...MACHINE, drive: 'inverter' as const, nominalRpm: 0.9 * MACHINE.nominalRpm };
    const signals = await model.feed(service, 'fan', 150, run(slower, 'normal', 9));
    expect(signals).toHaveLength(1);
    expect(signals[0]).toMatchObject({
      stream: 'fan',
      benign: true,
      cause: { kind: 'speed' },
      decided: { before: 'normal', now: 'normal' },
    });
    expect(signals[0].cause.speedRatio).toBeLessThan(0.97);
    expect(driftSignalSchema.parse(JSON.parse(JSON.stringify(signals[0])))).toEqual(signals[0]);
  });

  it('has an alarm and no drift when it gets a fault that the model knows', async () => {
    const service = watch();
    await model.feed(service, 'fan', LEARNED, run(MACHINE));
    expect(await model.feed(service, 'fan', 80, run(MACHINE, 'bearing_outer', 9))).toEqual([]);
  });

  it('has no drift when its sensor sends one value for ever', async () => {
    const service = watch();
    await model.feed(service, 'fan', LEARNED, run(MACHINE));
    const flat = (samples: Float32Array) => samples.fill(0.01);
    expect(await model.feed(service, 'fan', 80, flat)).toEqual([]);
  });

  it('drifts with a cause when its worn bearing is of a make that was never seen, once, and with evidence', async () => {
    const machine = createMachine({ seed: 12 });
    const make = BEARINGS.find((bearing) => bearing !== machine.bearing)!;
    const service = watch({ evidence: 'raw', names: 'pseudonym' });
    await model.feed(service, 'fan', LEARNED, run(machine, 'bearing_outer', 12));
    const signals = await model.feed(service, 'fan', 120, run({ ...machine, bearing: make }, 'bearing_outer', 13));
    expect(signals).toHaveLength(1);
    const [{ benign, cause, evidence, stream, asset }] = signals;
    expect([benign, cause.kind, cause.statistic]).toEqual([false, 'condition', 'shift']);
    expect(cause.bandHz[0]).toBeGreaterThan(20);
    if (evidence.kind !== 'raw') throw new Error(`evidence is ${evidence.kind}`);
    expect(evidence.windows).toHaveLength(4);
    expect(new Set(evidence.windows.map(({ endSequence }) => endSequence)).size).toBe(4);
    for (const { codes } of evidence.windows) expect(Buffer.from(codes, 'base64')).toHaveLength(2 * 512 * 3);
    expect(stream).toBe(asset);
    expect(JSON.stringify(signals)).not.toContain('fan');
  });
});
