import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CONDITIONS,
  type Condition,
  createMachine,
  FULL_SCALE_G,
  MachineSimulator,
  type MachineSimulatorOptions,
  REPLACEMENT_BEARINGS,
} from '../../firmware-bridge/simulator/pure/index.ts';

function take(simulator: MachineSimulator, count: number): Float32Array {
  const samples = new Float32Array(3 * count);
  simulator.next(samples);
  return samples;
}

function simulate(options: Partial<MachineSimulatorOptions> & { condition: Condition }, count: number): Float32Array {
  return take(new MachineSimulator({ machine: createMachine({ seed: 11 }), severity: 0.8, seed: 5, ...options }), count);
}

const digest = (samples: Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength))
    .digest('hex')
    .slice(0, 16);

const rms = (samples: Float32Array): number => Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);

describe('a simulated machine', () => {
  // A change here means that every data set and every result made from the simulator has changed.
  it.each([
    ['normal', '53529e599a0b6f87'],
    ['looseness', '514a563d373d82bf'],
    ['bearing_inner', 'dfe008715258a2e2'],
    ['electrical_rotor_bar', '4b9ef04fd0e3e95f'],
    ['sensor_fault', 'cb952df23d80b449'],
  ] as const)('gives the samples of its seed in condition %s', (condition, expected) => {
    expect(digest(simulate({ condition }, 3000))).toBe(expected);
  });

  it('gives the same samples whatever their number in each call', () => {
    const whole = new Map<Condition, Float32Array>();
    fc.assert(
      fc.property(fc.constantFrom(...CONDITIONS), fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 40 }), (condition, chunks) => {
        if (!whole.has(condition)) whole.set(condition, simulate({ condition }, 2400));
        const simulator = new MachineSimulator({ machine: createMachine({ seed: 11 }), condition, severity: 0.8, seed: 5 });
        let at = 0;
        for (const chunk of chunks) {
          expect(take(simulator, chunk)).toEqual(whole.get(condition)!.subarray(3 * at, 3 * (at + chunk)));
          at += chunk;
        }
      }),
    );
  });

  it('stays finite and within the range of its sensor, for any machine, condition, severity and load', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.constantFrom(...CONDITIONS),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1.2, noNaN: true }),
        (seed, condition, severity, meanLoad) => {
          const samples = simulate({ machine: createMachine({ seed }), condition, severity, seed, profile: { meanLoad } }, 600);
          expect(samples.every((value) => Math.abs(value) <= FULL_SCALE_G)).toBe(true);
          expect(rms(samples)).toBeGreaterThan(1e-4);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('refuses what it cannot do', () => {
    const simulator = new MachineSimulator({ machine: createMachine({ seed: 1 }), seed: 1 });
    expect(() => simulator.next(new Float32Array(4))).toThrow('samples: a length of 4');
    expect(() => simulator.setCondition('rub', 1.5)).toThrow('severity: 1.5');
    expect(() => simulator.setCondition('rub', 0.5, -1)).toThrow('onsetSeconds: -1');
    expect(() => simulator.setCondition('rust' as Condition, 0.5)).toThrow("condition: 'rust'");
    expect(() => createMachine({ seed: 1, speedRange: [2000, 1000] })).toThrow('speedRange: 2000 to 1000 rpm');
  });
});

describe('an individual', () => {
  it('is drawn by its seed', () => {
    expect(createMachine({ seed: 4 })).toEqual(createMachine({ seed: 4 }));
  });

  it('differs from every other in its parts and in its sound', () => {
    const machines = Array.from({ length: 40 }, (_, seed) => createMachine({ seed }));
    for (const value of ['ratedRpm', 'floorG', 'ratedSlip'] as const)
      expect(new Set(machines.map((machine) => machine[value])).size).toBe(40);
    expect(new Set(machines.map((machine) => machine.bearing.name)).size).toBe(4);
    const sounds = machines.map((machine) => rms(simulate({ machine, condition: 'normal' }, 4000)));
    expect(Math.max(...sounds) / Math.min(...sounds)).toBeGreaterThan(2);
  });

  it('also differs for seeds beyond 32 bits', () => {
    expect(createMachine({ seed: 2 ** 40 + 1 }).floorG).not.toBe(createMachine({ seed: 1 }).floorG);
  });

  it('keeps everything else when it gets another bearing', () => {
    const [bearing] = REPLACEMENT_BEARINGS;
    const before = createMachine({ seed: 9 });
    expect(createMachine({ seed: 9, bearing })).toEqual({ ...before, bearing });
  });

  it('keeps everything else when it is run at another speed', () => {
    const before = createMachine({ seed: 9 });
    const after = createMachine({ seed: 9, speedRange: [600, 800] });
    expect(after.nominalRpm).toBeGreaterThanOrEqual(600);
    expect(after.nominalRpm).toBeLessThanOrEqual(800);
    expect({ ...after, nominalRpm: 0, drive: 'line' }).toEqual({ ...before, nominalRpm: 0, drive: 'line' });
  });

  it('keeps its speed when that lies within the range asked for', () => {
    expect(createMachine({ seed: 9, speedRange: [300, 3600] })).toEqual(createMachine({ seed: 9 }));
  });

  it('runs at the speed and load that its simulator tells', () => {
    for (let seed = 0; seed < 20; seed++) {
      const machine = createMachine({ seed });
      const simulator = new MachineSimulator({ machine, seed });
      take(simulator, 5000);
      expect(Math.abs(simulator.shaftSpeedRpm / machine.nominalRpm - 1)).toBeLessThan(0.07);
      expect(Math.abs(simulator.load - 0.75)).toBeLessThan(0.25);
    }
  });
});

describe('when the condition changes in mid-stream', () => {
  const start = (): MachineSimulator => new MachineSimulator({ machine: createMachine({ seed: 11 }), seed: 5 });

  it('has the same samples up to the change', () => {
    const changed = start();
    const before = take(changed, 1000);
    changed.setCondition('imbalance', 1);
    const after = take(changed, 1000);
    const unchanged = take(start(), 2000);
    expect(before).toEqual(unchanged.subarray(0, 3000));
    expect(rms(after)).toBeGreaterThan(3 * rms(unchanged.subarray(3000)));
  });

  /** How far a fault that grows over 4 s has come in each 2 s, as a share of the fault that was always there. */
  function shares(condition: Condition): number[] {
    const growing = start();
    growing.setCondition(condition, 0.9, 4);
    const grown = new MachineSimulator({ machine: createMachine({ seed: 11 }), condition, severity: 0.9, seed: 5 });
    const healthy = start();
    return [0, 1, 2].map(() => {
      const [slow, full, well] = [take(growing, 2000), take(grown, 2000), take(healthy, 2000)];
      return rms(slow.map((value, i) => value - well[i])) / rms(full.map((value, i) => value - well[i]));
    });
  }

  it.each(CONDITIONS.slice(1))('%s grows over its onset', (condition) => {
    const [first, second] = shares(condition);
    expect(first).toBeLessThan(second);
  });

  // Those that draw nothing on their way: after the onset nothing tells how the fault came.
  it.each(['imbalance', 'misalignment', 'bearing_outer', 'bearing_inner', 'bearing_ball', 'gear_wear', 'electrical_supply'] as const)(
    '%s is linear in the onset, and then the fault itself',
    (condition) => {
      const [first, second, later] = shares(condition);
      expect(first).toBeGreaterThan(0.15);
      expect(first).toBeLessThan(0.4);
      expect(second).toBeGreaterThan(0.6);
      expect(second).toBeLessThan(0.9);
      expect(later).toBeCloseTo(1, 3);
    },
  );

  it('is healthy again after a repair', () => {
    const repaired = start();
    repaired.setCondition('misalignment', 1);
    take(repaired, 2000);
    repaired.setCondition('normal', 0, 0.5);
    take(repaired, 2000);
    const healthy = start();
    take(healthy, 4000);
    const [now, expected] = [take(repaired, 1000), take(healthy, 1000)];
    expect(Math.max(...now.map((value, i) => Math.abs(value - expected[i])))).toBeLessThan(1e-5);
  });
});
