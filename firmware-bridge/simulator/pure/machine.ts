import { BEARINGS, type BearingGeometry } from './bearing.ts';
import type { PerCondition } from './conditions.ts';
import { Random } from './random.ts';
import { velocityToG } from './source.ts';

/** Horizontal and vertical are radial, axial runs along the shaft. */
export type Triple = readonly [horizontal: number, vertical: number, axial: number];

/** A resonance of the structure between the rotor and the sensor, on one axis. */
export interface Mode {
  readonly axis: 0 | 1 | 2;
  readonly frequencyHz: number;
  /** Share of critical damping. */
  readonly damping: number;
  /** Acceleration at the sensor per force at the rotor, relative to the rigid body's. */
  readonly gain: number;
}

export interface Sensor {
  /** Turns machine axes into sensor axes, row by row. */
  readonly rotation: readonly [Triple, Triple, Triple];
  /** Sensitivity of each channel relative to its nominal value. */
  readonly gain: Triple;
  /** Width of the white noise of each channel, g rms. */
  readonly noiseG: number;
  /** Corner of the second-order low-pass in front of the sampler. */
  readonly bandwidthHz: number;
}

/** One individual: everything about a machine that stays when its load, its speed and its health change. */
export interface Machine {
  readonly seed: number;
  /** Frequency of the mains, which the stator's pull follows at twice the rate. */
  readonly lineFrequencyHz: 50 | 60;
  /** A `line` machine runs near 60 f / pole pairs, an `inverter` machine anywhere. */
  readonly drive: 'line' | 'inverter';
  readonly polePairs: number;
  /** Slip at full load, as a share of the synchronous speed. */
  readonly ratedSlip: number;
  /** Shaft speed at full load for which it was built: its forces, its teeth and its floor are those of this speed. */
  readonly ratedRpm: number;
  /** Shaft speed at full load as it is run. */
  readonly nominalRpm: number;
  readonly bearing: BearingGeometry;
  readonly gearTeeth: number;
  /** Stiffness of the mounting, as the response of the rigid body on each axis. */
  readonly rigidGain: Triple;
  readonly modes: readonly Mode[];
  /** Broad-band force of the process (flow, friction), g rms on each axis before resonances. Most faults are measured against it. */
  readonly floorG: number;
  /** What a healthy machine shows of each fault, as a share of the fault at severity 1. */
  readonly residual: PerCondition;
  readonly sensor: Sensor;
}

export interface MachineOptions {
  readonly seed: number;
  /** Default: drawn from `BEARINGS`. */
  readonly bearing?: BearingGeometry;
  /** Slowest and fastest speed to run it at, in revolutions per minute: out of its rating, an inverter drives it. Default: as rated, within 900 to 3000. */
  readonly speedRange?: readonly [minRpm: number, maxRpm: number];
}

const RATED_RPM = [900, 3000] as const;
/** The slowest and fastest shaft that still has some orders and defect frequencies within 500 Hz, and some turns within a window. */
const SPEED_LIMITS = [300, 3600] as const;
/** Small motors have two or four poles, fewer have six. */
const POLE_PAIRS = [1, 1, 2, 2, 3];
const INVERTER_SHARE = 0.2;
/** Output of an inverter at its nominal set point, as a share of the mains. */
const INVERTER_SETTING = [0.8, 1.05] as const;
/** Broad-band force, as the peak acceleration of so many mm/s at the shaft speed: flow and friction grow with speed. */
const FLOOR_MM_S = [0.25, 0.5] as const;
/** Largest angle between a sensor and the axes it was meant to have, in degrees. */
const MAX_TILT_DEG = 15;

/**
 * Draws an individual. The same seed gives the same machine; an option changes what it names and nothing else, so that
 * `createMachine({ seed })` and `createMachine({ seed, bearing })` are one machine before and after an overhaul.
 */
export function createMachine(options: MachineOptions): Machine {
  const { seed, bearing, speedRange = RATED_RPM } = options;
  const [minRpm, maxRpm] = speedRange;
  if (!(minRpm >= SPEED_LIMITS[0] && maxRpm <= SPEED_LIMITS[1] && minRpm <= maxRpm)) {
    throw new RangeError(`speedRange: ${minRpm} to ${maxRpm} rpm is not an interval within ${SPEED_LIMITS.join(' to ')}`);
  }
  const train = drawDriveTrain(new Random(seed, 'drive train'));
  const ratedHz = train.ratedRpm / 60;
  const asRated = train.ratedRpm >= minRpm && train.ratedRpm <= maxRpm;
  return {
    seed,
    ...train,
    drive: asRated ? train.drive : 'inverter',
    nominalRpm: asRated ? train.ratedRpm : new Random(seed, 'speed').uniform(minRpm, maxRpm),
    bearing: bearing ?? new Random(seed, 'bearing').pick(BEARINGS),
    gearTeeth: drawGearTeeth(new Random(seed, 'gear'), ratedHz),
    ...drawStructure(new Random(seed, 'structure')),
    floorG: velocityToG(new Random(seed, 'floor').logUniform(...FLOOR_MM_S), ratedHz),
    residual: drawResidual(new Random(seed, 'residual')),
    sensor: drawSensor(new Random(seed, 'sensor')),
  };
}

type DriveTrain = Pick<Machine, 'lineFrequencyHz' | 'drive' | 'polePairs' | 'ratedSlip' | 'ratedRpm'>;

/** An induction motor of two, four or six poles, on the mains or on an inverter near them. */
function drawDriveTrain(random: Random): DriveTrain {
  const lineFrequencyHz = random.pick([50, 60] as const);
  const ratedSlip = random.uniform(0.03, 0.06);
  const drive = random.uniform() < INVERTER_SHARE ? 'inverter' : 'line';
  const supplyHz = lineFrequencyHz * (drive === 'line' ? 1 : random.uniform(...INVERTER_SETTING));
  const fits = POLE_PAIRS.map((polePairs) => ({
    polePairs,
    ratedRpm: ((60 * supplyHz) / polePairs) * (1 - ratedSlip),
  })).filter(({ ratedRpm }) => ratedRpm >= RATED_RPM[0] && ratedRpm <= RATED_RPM[1]);
  return { lineFrequencyHz, drive, ratedSlip, ...random.pick(fits) };
}

/** A pinion on the shaft whose mesh, teeth times shaft speed, lies where the sensor can hear it. */
function drawGearTeeth(random: Random, shaftHz: number): number {
  return Math.max(7, Math.round(random.logUniform(150, 380) / shaftHz));
}

function drawStructure(random: Random): Pick<Machine, 'rigidGain' | 'modes'> {
  const modes = ([0, 1, 2] as const).flatMap((axis) =>
    [
      [70, 190],
      [190, 420],
    ].map(([low, high]) => ({
      axis,
      frequencyHz: random.logUniform(low, high),
      damping: random.logUniform(0.03, 0.07),
      gain: random.uniform(0.1, 0.25) * (random.uniform() < 0.5 ? -1 : 1),
    })),
  );
  return {
    rigidGain: [random.uniform(0.9, 1.15), random.uniform(0.7, 0.95), random.uniform(0.75, 1.05)],
    modes,
  };
}

/** Balancing, alignment, bearings and gears are never perfect; a sensor is. */
function drawResidual(random: Random): PerCondition {
  return {
    normal: 0,
    imbalance: random.uniform(0.04, 0.1),
    misalignment: random.uniform(0.01, 0.06),
    looseness: random.uniform(0, 0.025),
    rub: random.uniform(0, 0.02),
    bearing_outer: random.uniform(0, 0.04),
    bearing_inner: random.uniform(0, 0.04),
    bearing_ball: random.uniform(0, 0.04),
    gear_wear: random.uniform(0.03, 0.08),
    electrical_rotor_bar: random.uniform(0, 0.05),
    electrical_supply: random.uniform(0.02, 0.07),
    sensor_fault: 0,
  };
}

function drawSensor(random: Random): Sensor {
  return {
    rotation: rotation(random, (random.uniform() * MAX_TILT_DEG * Math.PI) / 180),
    gain: [random.uniform(0.93, 1.07), random.uniform(0.93, 1.07), random.uniform(0.93, 1.07)],
    noiseG: random.uniform(0.0004, 0.0012),
    bandwidthHz: random.uniform(330, 420),
  };
}

/** Rodrigues' formula about an axis that is uniform on the sphere. */
function rotation(random: Random, angle: number): [Triple, Triple, Triple] {
  const axis = [random.gaussian(), random.gaussian(), random.gaussian()];
  const length = Math.hypot(...axis);
  const [x, y, z] = axis.map((component) => component / length);
  const c = Math.cos(angle);
  const s = Math.sin(angle);
  const t = 1 - c;
  return [
    [t * x * x + c, t * x * y - s * z, t * x * z + s * y],
    [t * x * y + s * z, t * y * y + c, t * y * z - s * x],
    [t * x * z - s * y, t * y * z + s * x, t * z * z + c],
  ];
}
