import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { BEARINGS, createMachine, type Machine, MachineSimulator } from '../../firmware-bridge/simulator/pure/index.ts';
import { driftSignalSchema } from '../../runtime/contracts/drift.ts';
import { DriftService, type DriftServiceOptions } from '../../runtime/io/drift-service.ts';
import { DriftStore } from '../../runtime/io/drift-store.ts';
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
let folder: string;
beforeAll(async () => {
  model = await ShippedModel.load();
  folder = await mkdtemp(join(tmpdir(), 'tremolo-drift-'));
  pseudonyms = await Pseudonyms.open(join(folder, 'key'), fail);
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

function run(
  machine: Machine,
  condition: 'normal' | 'bearing_outer' = 'normal',
  seed = 8,
  told = false,
): (samples: Float32Array) => number | undefined {
  const simulator = new MachineSimulator({ machine, condition, severity: 0.8, seed });
  return (samples) => {
    simulator.next(samples);
    return told ? simulator.shaftSpeedRpm : undefined;
  };
}

describe('a machine that the model knows', () => {
  const slower = { ...MACHINE, drive: 'inverter' as const, nominalRpm: 0.9 * MACHINE.nominalRpm };

  it('is said once to run at another speed, which is nothing to repair, where the device says its speed', async () => {
    const service = watch();
    expect(await model.feed(service, 'fan', LEARNED, run(MACHINE, 'normal', 8, true))).toEqual([]);
    const signals = await model.feed(service, 'fan', 150, run(slower, 'normal', 9, true));
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

  it('is not called benign when another make of bearing looks like another speed, whether the speed is told or not', async () => {
    const machine = createMachine({ seed: 12 });
    const all: boolean[] = [];
    for (const told of [false, true]) {
      for (const bearing of BEARINGS.filter((make) => make !== machine.bearing)) {
        const service = watch();
        await model.feed(service, 'fan', LEARNED, run(machine, 'bearing_outer', 12, told));
        const signals = await model.feed(service, 'fan', 60, run({ ...machine, bearing }, 'bearing_outer', 13, told));
        all.push(...signals.map(({ benign }) => benign));
      }
    }
    expect(new Set(all)).toEqual(new Set([false]));
  });

  it('hardly ever drifts while it is well, in three minutes of changing load and speed', async () => {
    let signals = 0;
    for (let seed = 21; seed < 33; seed++) {
      signals += (await model.feed(watch(), 'fan', 700, run(createMachine({ seed }), 'normal', seed))).length;
    }
    expect(watch().promisedRunLength).toBe(20_000);
    // 5,328 windows are watched, so .27 signals come by chance, and more than two once in 300 times.
    expect(signals).toBeLessThanOrEqual(2);
  });

  it('has an alarm and no drift when it gets a fault that the model knows', async () => {
    const service = watch();
    await model.feed(service, 'fan', LEARNED, run(MACHINE));
    expect(await model.feed(service, 'fan', 80, run(MACHINE, 'bearing_outer', 9))).toEqual([]);
  });

  it('has no drift when its sensor sends one value for ever', async () => {
    const service = watch();
    await model.feed(service, 'fan', LEARNED, run(MACHINE));
    const flat = (samples: Float32Array) => {
      samples.fill(0.01);
      return undefined;
    };
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

it('nothing leaves the site that the bundle does not allow, whatever the configuration says', async () => {
  const machine = createMachine({ seed: 12 });
  const make = BEARINGS.find((bearing) => bearing !== machine.bearing)!;
  const service = watch({ evidence: 'raw', manifest: { ...model.manifest, leaves: { evidence: 'none', names: 'pseudonym' } } });
  await model.feed(service, 'fan', LEARNED, run(machine, 'bearing_outer', 12));
  const [signal] = await model.feed(service, 'fan', 60, run({ ...machine, bearing: make }, 'bearing_outer', 13));
  expect(signal.evidence).toEqual({ kind: 'none' });
  expect(JSON.stringify(signal)).not.toContain('fan');
});

describe('a gateway that starts again', () => {
  const changed = { ...createMachine({ seed: 12 }), bearing: BEARINGS.find((bearing) => bearing !== createMachine({ seed: 12 }).bearing)! };

  /** The streams that another process reads after this one has ended. */
  async function through(service: DriftService, path: string, model = 'digest') {
    await new DriftStore(path).save('digest', service.changes, () => service.kept());
    return new DriftStore(path).read(model);
  }

  it('knows how its machines were, and does not learn one that changed meanwhile', async () => {
    const before = watch();
    await model.feed(before, 'fan', LEARNED, run(createMachine({ seed: 12 }), 'bearing_outer', 12));
    const kept = await through(before, join(folder, 'changed.json'));
    const signals = await model.feed(watch({ kept }), 'fan', 60, run(changed, 'bearing_outer', 13));
    expect(signals.map(({ cause }) => cause.kind)).toEqual(['condition']);
  });

  it('does not say a drift again that it has said', async () => {
    const before = watch();
    await model.feed(before, 'fan', LEARNED, run(createMachine({ seed: 12 }), 'bearing_outer', 12));
    expect(await model.feed(before, 'fan', 60, run(changed, 'bearing_outer', 13))).toHaveLength(1);
    const kept = await through(before, join(folder, 'raised.json'));
    expect(await model.feed(watch({ kept }), 'fan', 60, run(changed, 'bearing_outer', 14))).toEqual([]);
  });

  it('begins anew with another bundle or adapter', async () => {
    const before = watch();
    await model.feed(before, 'fan', LEARNED, run(createMachine({ seed: 12 }), 'bearing_outer', 12));
    expect((await through(before, join(folder, 'other.json'), 'other digest')).size).toBe(0);
    const kept = await through(before, join(folder, 'adapter.json'));
    expect(kept.size).toBe(1);
    const adapted = watch({ kept, adapterOf: () => 'adapter' });
    expect(await model.feed(adapted, 'fan', 60, run(changed, 'bearing_outer', 13))).toEqual([]);
  });

  it('knows a machine that stood over the weekend, through a restart too, and forgets who left first where too many are away', async () => {
    const before = watch();
    await model.feed(before, 'fan', LEARNED, run(createMachine({ seed: 12 }), 'bearing_outer', 12));
    before.leave('fan');
    before.leave('never seen');
    expect([...before.kept().keys()]).toEqual(['fan']);
    const [left] = before.kept().values();
    const kept = await through(before, join(folder, 'away.json'));
    for (const service of [before, watch({ kept })]) {
      const signals = await model.feed(service, 'fan', 60, run(changed, 'bearing_outer', 13));
      expect(signals.map(({ cause }) => cause.kind)).toEqual(['condition']);
    }
    const many = new Map(Array.from({ length: 1000 }, (_, index) => [`press-${index}`, left]));
    const full = watch({ kept: many });
    await model.feed(full, 'fan', LEARNED, run(createMachine({ seed: 12 }), 'bearing_outer', 12));
    full.leave('fan');
    expect([...full.kept().keys()]).toEqual([...many.keys(), 'fan'].slice(1));
  });

  it('refuses a file that is damaged, in one line', async () => {
    const path = join(folder, 'damaged.json');
    await writeFile(path, '{"formatVersion":2,"model":"digest","streams":{"fan":{"raised":false,"states":[{"sum":"AAA="}]}}}');
    await expect(new DriftStore(path).read('digest')).rejects.toThrow(/^streams\.fan\.states\.0\.[^\n]*$/);
  });
});
