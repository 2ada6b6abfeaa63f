import { describe, expect, it } from 'vitest';
import {
  BEARINGS,
  bearingOrders,
  CONDITIONS,
  type Condition,
  createMachine,
  type Machine,
  MachineSimulator,
  type MachineSimulatorOptions,
  SAMPLE_RATE_HZ,
  SENSOR_FAULTS,
  type SensorFaultKind,
} from '../../firmware-bridge/simulator/pure/index.ts';

/** No steps and no wandering: every line stands still. */
const STEADY = { loadWander: 0, secondsBetweenSteps: Number.POSITIVE_INFINITY, speedStep: 0 };
const COUNT = 8192;

/** Twelve individuals: what is claimed of a fault must hold for each. */
const MACHINES = Array.from({ length: 12 }, (_, i) => createMachine({ seed: 100 + i }));

interface Run {
  /** The three channels. */
  readonly axes: readonly Float64Array[];
  readonly shaftHz: number;
}

function run(machine: Machine, condition: Condition, options: Partial<MachineSimulatorOptions> = {}): Run {
  const simulator = new MachineSimulator({ machine, condition, severity: 0.7, seed: 3, profile: STEADY, ...options });
  const samples = new Float32Array(3 * COUNT);
  simulator.next(samples);
  const axes = [0, 1, 2].map((axis) => Float64Array.from({ length: COUNT }, (_, i) => samples[3 * i + axis]));
  return { axes, shaftHz: simulator.shaftSpeedRpm / 60 };
}

const HANN = Float64Array.from({ length: COUNT }, (_, i) => 1 - Math.cos((2 * Math.PI * (i + 0.5)) / COUNT));

/** Amplitude of the sine at a frequency, by a Hann window. */
function amplitude(signal: Float64Array, frequencyHz: number): number {
  const turn = (2 * Math.PI * frequencyHz) / SAMPLE_RATE_HZ;
  const [stepCos, stepSin] = [Math.cos(turn), Math.sin(turn)];
  let [c, s, re, im] = [1, 0, 0, 0];
  for (let i = 0; i < COUNT; i++) {
    const weighted = HANN[i] * signal[i];
    re += weighted * c;
    im -= weighted * s;
    const next = c * stepCos - s * stepSin;
    s = s * stepCos + c * stepSin;
    c = next;
  }
  return (2 * Math.hypot(re, im)) / COUNT;
}

/** Over all axes. */
const total = (of: Run, frequencyHz: number): number => Math.hypot(...of.axes.map((axis) => amplitude(axis, frequencyHz)));

/** The largest line within `tolerance` (relative) of a frequency, with its place. */
function peak(of: Run, frequencyHz: number, tolerance: number): { frequencyHz: number; amplitude: number } {
  const step = SAMPLE_RATE_HZ / COUNT / 2;
  let best = { frequencyHz, amplitude: 0 };
  for (let f = frequencyHz * (1 - tolerance); f <= frequencyHz * (1 + tolerance); f += step) {
    const here = total(of, f);
    if (here > best.amplitude) best = { frequencyHz: f, amplitude: here };
  }
  return best;
}

/** Energy of each instant after the slow motion of the shaft is taken away: its lines are the rates of impacts. */
function envelope({ axes, shaftHz }: Run): Run {
  const energy = new Float64Array(COUNT);
  for (const axis of axes) {
    for (let i = 2; i < COUNT; i++) energy[i] += (axis[i] - 2 * axis[i - 1] + axis[i - 2]) ** 2;
  }
  const mean = energy.reduce((sum, value) => sum + value, 0) / COUNT;
  return { axes: [energy.map((value) => value / mean - 1)], shaftHz };
}

const rms = (signal: Float64Array): number => Math.sqrt(signal.reduce((sum, value) => sum + value * value, 0) / signal.length);

/** The usual amplitude within some 30 Hz of a line, aside from it. */
function surroundings(of: Run, frequencyHz: number): number {
  const around = Array.from({ length: 20 }, (_, i) => 1.7 * (i + 1) + 0.02 * frequencyHz);
  const amplitudes = around.flatMap((distance) => [total(of, frequencyHz - distance), total(of, frequencyHz + distance)]);
  return amplitudes.sort((a, b) => a - b)[amplitudes.length >> 1];
}

const energy = (of: Run): number => of.axes.reduce((sum, axis) => sum + rms(axis) ** 2, 0);

describe('bearing orders', () => {
  // Bearing Data Center, Case Western Reserve University: defect frequencies in multiples of the shaft speed. Its "rolling element" is 2 BSF.
  it.each([
    ['6205', { inner: 5.4152, outer: 3.5848, cage: 0.39828, twiceSpin: 4.7135 }],
    ['6203', { inner: 4.9469, outer: 3.053, cage: 0.3817, twiceSpin: 3.9874 }],
  ])('of a %s are the published ones', (name, published) => {
    const { inner, outer, cage, spin } = bearingOrders(BEARINGS.find((bearing) => bearing.name === name)!);
    expect(inner).toBeCloseTo(published.inner, 2);
    expect(outer).toBeCloseTo(published.outer, 2);
    expect(cage).toBeCloseTo(published.cage, 3);
    expect(2 * spin).toBeCloseTo(published.twiceSpin, 2);
  });
});

describe('a healthy machine', () => {
  it.each(MACHINES)('shows some of the shaft, the mesh and the mains', (machine) => {
    const healthy = run(machine, 'normal');
    const perfect = run({ ...machine, residual: Object.fromEntries(CONDITIONS.map((name) => [name, 0])) as Machine['residual'] }, 'normal');
    for (const frequencyHz of [healthy.shaftHz, machine.gearTeeth * healthy.shaftHz, 2 * machine.lineFrequencyHz]) {
      expect(peak(healthy, frequencyHz, 0.003).amplitude).toBeGreaterThan(2 * peak(perfect, frequencyHz, 0.003).amplitude);
    }
  });
});

describe.each(MACHINES)('machine $seed at $ratedRpm rpm', (machine) => {
  const healthy = run(machine, 'normal');
  // What a steady profile gives at its load of 0.75.
  const supplyHz =
    machine.drive === 'line' ? machine.lineFrequencyHz : (machine.nominalRpm * machine.polePairs) / 60 / (1 - machine.ratedSlip);
  const slip = machine.ratedSlip * 0.75;
  const shaftHz = (supplyHz / machine.polePairs) * (1 - slip);
  const meshHz = machine.gearTeeth * shaftHz;
  const orders = bearingOrders(machine.bearing);

  /** How much larger the line near a frequency is than in health. */
  const growth = (of: Run, frequencyHz: number): number =>
    peak(of, frequencyHz, 0.003).amplitude / peak(healthy, frequencyHz, 0.003).amplitude;

  it.each(CONDITIONS.slice(1, -1))('shakes more with %s', (condition) => {
    expect(energy(run(machine, condition))).toBeGreaterThan(1.5 * energy(healthy));
  });

  it('imbalance: 1x above all other lines', () => {
    const imbalance = run(machine, 'imbalance');
    const first = peak(imbalance, shaftHz, 0.003).amplitude;
    expect(growth(imbalance, shaftHz)).toBeGreaterThan(5);
    for (const frequencyHz of [0.5, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8]
      .map((order) => order * shaftHz)
      .concat(meshHz, 2 * machine.lineFrequencyHz)) {
      expect(total(imbalance, frequencyHz)).toBeLessThan(0.25 * first);
    }
  });

  it('imbalance: grows with the square of the speed', () => {
    const [slow, fast] = [1000, 2000].map((rpm) =>
      run(createMachine({ seed: machine.seed, speedRange: [rpm, rpm] }), 'imbalance', { severity: 1 }),
    );
    const ratio = peak(fast, fast.shaftHz, 0.002).amplitude / peak(slow, slow.shaftHz, 0.002).amplitude;
    expect(ratio / 4).toBeGreaterThan(0.9); // the structure's modes begin to answer
    expect(ratio / 4).toBeLessThan(1.12);
  });

  it('misalignment: 2x, and axial motion', () => {
    const misalignment = run(machine, 'misalignment');
    const axial = ({ axes }: Run): number => Math.hypot(amplitude(axes[2], shaftHz), amplitude(axes[2], 2 * shaftHz));
    expect(growth(misalignment, 2 * shaftHz)).toBeGreaterThan(8);
    expect(axial(misalignment)).toBeGreaterThan(5 * axial(healthy));
  });

  it('looseness: half orders, mostly vertical', () => {
    const looseness = run(machine, 'looseness');
    for (const order of [0.5, 1.5, 2.5]) expect(growth(looseness, order * shaftHz)).toBeGreaterThan(5);
    expect(rms(looseness.axes[1])).toBeGreaterThan(rms(looseness.axes[0]));
  });

  it('rub: a half order, and noise in bursts at 1x', () => {
    const rub = run(machine, 'rub');
    expect(growth(rub, 0.5 * shaftHz)).toBeGreaterThan(10);
    expect(total(envelope(rub), shaftHz)).toBeGreaterThan(0.5);
    expect(total(envelope(rub), shaftHz)).toBeGreaterThan(2 * total(envelope(healthy), shaftHz));
  });

  it('bearing_outer: an envelope line at BPFO, even over the turns', () => {
    const even = envelope(run(machine, 'bearing_outer'));
    const line = peak(even, orders.outer * shaftHz, 0.02);
    expect(line.amplitude).toBeGreaterThan(5 * peak(envelope(healthy), orders.outer * shaftHz, 0.02).amplitude);
    expect(line.amplitude).toBeGreaterThan(10 * surroundings(even, line.frequencyHz));
    expect(total(even, shaftHz)).toBeLessThan(0.3 * line.amplitude);
  });

  it('bearing_inner: envelope lines at BPFI and, as the spall turns through the load zone, at 1x', () => {
    const turning = envelope(run(machine, 'bearing_inner'));
    const line = peak(turning, orders.inner * shaftHz, 0.02);
    expect(line.amplitude).toBeGreaterThan(10 * surroundings(turning, line.frequencyHz));
    expect(peak(turning, shaftHz, 0.003).amplitude).toBeGreaterThan(0.5);
    const sideband = Math.max(total(turning, line.frequencyHz - shaftHz), total(turning, line.frequencyHz + shaftHz));
    expect(sideband).toBeGreaterThan(0.4 * line.amplitude);
  });

  it('bearing_ball: envelope lines at twice BSF and at the cage, not at 1x', () => {
    const carried = envelope(run(machine, 'bearing_ball'));
    const line = peak(carried, 2 * orders.spin * shaftHz, 0.02);
    expect(line.amplitude).toBeGreaterThan(10 * surroundings(carried, line.frequencyHz));
    expect(peak(carried, orders.cage * shaftHz, 0.02).amplitude).toBeGreaterThan(0.8);
    expect(total(carried, shaftHz)).toBeLessThan(0.3);
  });

  it('gear_wear: the mesh, with sidebands at the shaft speed', () => {
    const worn = run(machine, 'gear_wear');
    for (const frequencyHz of [meshHz, meshHz - shaftHz, meshHz + shaftHz]) expect(growth(worn, frequencyHz)).toBeGreaterThan(1.8);
    expect(growth(worn, meshHz)).toBeGreaterThan(4);
  });

  it('electrical_rotor_bar: pole-pass sidebands around 1x and twice the supply', () => {
    const broken = run(machine, 'electrical_rotor_bar');
    const polePassHz = 2 * slip * supplyHz;
    for (const centreHz of [shaftHz, 2 * supplyHz]) {
      expect(growth(broken, centreHz - polePassHz)).toBeGreaterThan(2.5);
      expect(growth(broken, centreHz + polePassHz)).toBeGreaterThan(2.5);
    }
  });

  it('electrical_supply: a line at twice the mains, whatever the speed', () => {
    const unbalanced = run(machine, 'electrical_supply');
    const line = peak(unbalanced, 2 * machine.lineFrequencyHz, 0.005);
    expect(Math.abs(line.frequencyHz - 2 * machine.lineFrequencyHz)).toBeLessThan(0.2);
    expect(growth(unbalanced, 2 * machine.lineFrequencyHz)).toBeGreaterThan(6);
    expect(line.amplitude).toBeGreaterThan(2 * total(unbalanced, shaftHz));
  });
});

describe('a sensor fault', () => {
  const machine = createMachine({ seed: 100 });
  const well = run(machine, 'normal').axes;

  /** Channels that the fault reached, beside what they would have been. */
  function reached(kind: SensorFaultKind, seed = 3): { faulty: Float64Array; sound: Float64Array }[] {
    const healthy = seed === 3 ? well : run(machine, 'normal', { seed }).axes;
    return run(machine, 'sensor_fault', { sensorFault: kind, seed })
      .axes.map((faulty, axis) => ({ faulty, sound: healthy[axis] }))
      .filter(({ faulty, sound }) => faulty.some((value, i) => value !== sound[i]));
  }
  const mean = (signal: Float64Array): number => signal.reduce((sum, value) => sum + value, 0) / signal.length;
  const largest = (signal: Float64Array): number => signal.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  /** Share of samples that repeat the one before. */
  const repeats = (signal: Float64Array): number => signal.filter((value, i) => i > 0 && value === signal[i - 1]).length / signal.length;

  it.each(SENSOR_FAULTS)('%s reaches one channel at least, and not always all', (kind) => {
    const counts = Array.from({ length: 12 }, (_, seed) => reached(kind, seed).length);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(1);
    expect(Math.min(...counts)).toBeLessThan(3);
  });

  it('bias moves the mean away and lets it drift', () => {
    for (const { faulty, sound } of reached('bias')) {
      expect(Math.abs(mean(faulty))).toBeGreaterThan(2 * rms(sound));
      const halves = [faulty.slice(0, COUNT / 16), faulty.slice(-COUNT / 16)].map(mean);
      expect(Math.abs(halves[0] - halves[1])).toBeGreaterThan(0.2 * rms(sound));
    }
  });

  it('clip cuts the peaks and nothing else', () => {
    for (const { faulty, sound } of reached('clip')) {
      expect(largest(faulty)).toBeLessThan(1.3 * rms(sound));
      expect(largest(sound)).toBeGreaterThan(2 * rms(sound));
      expect(faulty.every((value, i) => value === sound[i] || Math.abs(value) < Math.abs(sound[i]))).toBe(true);
    }
  });

  it('dropout reads zero for a good part of the time', () => {
    for (const { faulty, sound } of reached('dropout')) {
      expect(faulty.every((value, i) => value === sound[i] || value === 0)).toBe(true);
      expect(faulty.filter((value) => value === 0).length / COUNT).toBeGreaterThan(0.3);
    }
  });

  it('stuck repeats a value for a good part of the time', () => {
    for (const { faulty, sound } of reached('stuck')) {
      expect(repeats(faulty)).toBeGreaterThan(0.3);
      expect(repeats(sound)).toBeLessThan(0.01);
    }
  });

  it('spikes are single samples, far out', () => {
    for (const { faulty, sound } of reached('spikes')) {
      const spikes = faulty.map((value, i) => value - sound[i]).filter((difference) => difference !== 0);
      expect(spikes.length / (COUNT / SAMPLE_RATE_HZ)).toBeGreaterThan(10);
      expect(spikes.length / (COUNT / SAMPLE_RATE_HZ)).toBeLessThan(40);
      expect(spikes.every((difference) => Math.abs(difference) > 2 * rms(sound))).toBe(true);
    }
  });
});
