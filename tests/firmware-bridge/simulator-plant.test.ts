import { describe, expect, it } from 'vitest';
import {
  CONDITIONS,
  planPlant,
  plant,
  Random,
  REPLACEMENT_BEARINGS,
  SENSOR_FAULTS,
  simulateRecording,
} from '../../firmware-bridge/simulator/pure/index.ts';

describe('the plan of a plant', () => {
  const options = { machines: 5, seconds: 2, seed: 8 };
  const plans = [...planPlant(options)];

  it('has every machine in every condition at every load', () => {
    const rows = plans.map(({ machineSeed, condition, load }) => `${machineSeed} ${condition} ${load}`);
    expect(rows.length).toBe(5 * CONDITIONS.length * 3);
    expect(new Set(rows).size).toBe(rows.length);
    expect(new Set(plans.map(({ machineSeed }) => machineSeed)).size).toBe(5);
  });

  it('draws the severity of each fault from its range, and none for a healthy machine', () => {
    for (const { condition, severity } of planPlant({ ...options, severityRange: [0.2, 0.3] })) {
      if (condition === 'normal') expect(severity).toBe(0);
      else expect(severity >= 0.2 && severity < 0.3).toBe(true);
    }
  });

  it('gives each recording its own noise', () => {
    expect(new Set(plans.map(({ seed }) => seed)).size).toBe(plans.length);
  });

  it('begins with the same machines when it has more of them', () => {
    expect([...planPlant({ ...options, machines: 7 })].slice(0, plans.length)).toEqual(plans);
  });

  it('takes the same machines through a change of bearing', () => {
    const [bearing] = REPLACEMENT_BEARINGS;
    expect([...planPlant({ ...options, bearing })]).toEqual(plans.map((plan) => ({ ...plan, bearing })));
  });
});

describe('a recording', () => {
  const plan = { machineSeed: 77, condition: 'gear_wear', severity: 0.6, seconds: 3.5, seed: 4, load: 0.5 } as const;

  it('has the length asked for, and says what it is of', () => {
    const { samples, meta } = simulateRecording(plan);
    expect(samples.length).toBe(3 * 3500);
    expect(meta).toMatchObject({ machine: 'machine-77', condition: 'gear_wear', severity: 0.6 });
    expect(meta.load).toBeCloseTo(0.5, 0);
    expect(meta.rpm).toBeGreaterThan(800);
  });

  it('is the same for the same plan', () => {
    expect(simulateRecording(plan)).toEqual(simulateRecording(plan));
  });

  it('differs in its load and noise from the same fault at another time', () => {
    expect(simulateRecording({ ...plan, seed: 5 }).samples).not.toEqual(simulateRecording(plan).samples);
  });

  it('names the kind of a sensor fault, and only that', () => {
    for (const { meta } of plant({ machines: 1, seconds: 0.2, seed: 1 })) {
      if (meta.condition === 'sensor_fault') expect(SENSOR_FAULTS).toContain(meta.sensorFault);
      else expect(meta).not.toHaveProperty('sensorFault');
    }
  });
});

describe('random numbers', () => {
  it('stay the same for a seed', () => {
    const random = new Random(1);
    expect([random.int32(), random.int32(), random.int32()]).toEqual([1344857530, 1862079611, -158506434]);
  });

  it('are independent by stream and by seed', () => {
    const draws = (seed: number, stream: string): number[] => {
      const random = new Random(seed, stream);
      return Array.from({ length: 20_000 }, () => random.gaussian());
    };
    const [a, b, c] = [draws(1, 'noise'), draws(1, 'load'), draws(2, 'noise')];
    for (const other of [b, c]) expect(Math.abs(a.reduce((sum, value, i) => sum + value * other[i], 0) / a.length)).toBeLessThan(0.03);
  });

  it('follow the normal distribution, tails included', () => {
    const random = new Random(3);
    const count = 1_000_000;
    const beyond = [0.5, 1, 2, 3, 4].map((limit) => ({ limit, seen: 0 }));
    const moments = [0, 0, 0, 0];
    for (let i = 0; i < count; i++) {
      const x = random.gaussian();
      for (let power = 1; power <= 4; power++) moments[power - 1] += x ** power / count;
      for (const row of beyond) if (Math.abs(x) > row.limit) row.seen++;
    }
    expect(moments[0]).toBeCloseTo(0, 2);
    expect(moments[1]).toBeCloseTo(1, 2);
    expect(moments[2]).toBeCloseTo(0, 1);
    expect(Math.abs(moments[3] - 3)).toBeLessThan(0.05);
    // Two-sided tail probabilities of a standard normal; five deviations of a binomial count.
    const expected = [0.617075, 0.317311, 0.0455, 0.0026998, 6.3342e-5];
    beyond.forEach(({ seen }, i) => {
      expect(Math.abs(seen - count * expected[i])).toBeLessThan(5 * Math.sqrt(count * expected[i]));
    });
  });

  it('are uniform in their range', () => {
    const random = new Random(4);
    const bins = new Array<number>(16).fill(0);
    for (let i = 0; i < 160_000; i++) bins[Math.floor(random.uniform(0, 16))]++;
    for (const count of bins) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });
});
