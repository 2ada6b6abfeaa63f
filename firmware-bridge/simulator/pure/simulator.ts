import { BackgroundSource } from './background.ts';
import { BearingSource } from './bearing-source.ts';
import { type Condition, Severities } from './conditions.ts';
import { LooseFootSource, RubSource } from './contact.ts';
import { GearSource, MotorSource } from './drive-sources.ts';
import type { Machine } from './machine.ts';
import { BLOCK, BLOCK_SECONDS, DEFAULT_PROFILE, Operation, type OperationProfile } from './operation.ts';
import { SensorChain } from './sensor.ts';
import type { SensorFaultKind } from './sensor-fault.ts';
import { ShaftSource } from './shaft.ts';
import { createForce, type Force, type Source } from './source.ts';
import { Structure } from './structure.ts';

export interface MachineSimulatorOptions {
  readonly machine: Machine;
  /** Default 'normal'. */
  readonly condition?: Condition;
  /** 0 (healthy) to 1 (about to fail). Default 1 for a fault. */
  readonly severity?: number;
  /** What this run draws: noise, phases, the course of the load, the kind of a sensor fault. */
  readonly seed: number;
  /** Where it departs from `DEFAULT_PROFILE`. */
  readonly profile?: Partial<OperationProfile>;
  /** Default: drawn by `seed`. */
  readonly sensorFault?: SensorFaultKind;
}

/** Blocks that run before the first sample, so that every resonance already rings: about a second. */
const WARM_UP_BLOCKS = 64;

/**
 * One machine's accelerometer, sample after sample at 1 kHz.
 *
 * Samples depend on the options alone, not on how they are asked for: `next` may be called with any length each time.
 *
 * ```ts
 * const simulator = new MachineSimulator({ machine: createMachine({ seed: 7 }), condition: 'bearing_outer', severity: 0.6, seed: 1 });
 * const samples = new Float32Array(512 * 3);
 * simulator.next(samples); // [512, 3] in g
 * ```
 */
export class MachineSimulator {
  readonly machine: Machine;
  readonly #severities: Severities;
  readonly #operation: Operation;
  readonly #sources: readonly Source[];
  readonly #structure: Structure;
  readonly #sensor: SensorChain;
  readonly #force: Force = createForce();
  /** Samples of the present block that were handed out. */
  #used = BLOCK;

  constructor(options: MachineSimulatorOptions) {
    const { machine, condition = 'normal', seed, sensorFault } = options;
    this.machine = machine;
    this.#severities = new Severities(machine.residual, condition, options.severity ?? 1);
    this.#operation = new Operation(machine, { ...DEFAULT_PROFILE, ...options.profile }, seed);
    this.#sources = [
      new ShaftSource(machine, seed),
      new RubSource(machine, seed),
      new LooseFootSource(machine, seed), // cuts off what the shaft and the rub put into the foot
      new BearingSource(machine, seed),
      new GearSource(machine),
      new MotorSource(machine),
      new BackgroundSource(machine, seed),
    ];
    this.#structure = new Structure(machine);
    this.#sensor = new SensorChain(machine, seed, sensorFault);
    for (let i = 0; i < WARM_UP_BLOCKS; i++) this.#computeBlock();
  }

  /**
   * Changes the machine's health from the next block on (within 16 ms): `condition` goes to `severity`, every other fault goes away,
   * all in a straight line over `onsetSeconds`.
   */
  setCondition(condition: Condition, severity: number, onsetSeconds = 0): void {
    this.#severities.set(condition, severity, onsetSeconds);
  }

  /** Speed of the shaft at the latest sample, in revolutions per minute. */
  get shaftSpeedRpm(): number {
    return 60 * this.#operation.shaftHz;
  }

  /** Load at the latest sample, as a share of full load. */
  get load(): number {
    return this.#operation.load;
  }

  /** What is wrong with the sensor whenever the condition is 'sensor_fault'. */
  get sensorFault(): SensorFaultKind {
    return this.#sensor.faultKind;
  }

  /** Fills `samples` [n, 3], interleaved x, y, z in g, with the next n samples. */
  next(samples: Float32Array): void {
    if (samples.length % 3 !== 0) throw new RangeError(`samples: a length of ${samples.length} is no multiple of 3 axes`);
    const [x, y, z] = this.#sensor.channels;
    let at = 0;
    while (at < samples.length) {
      if (this.#used === BLOCK) {
        this.#computeBlock();
        this.#used = 0;
      }
      const end = Math.min(BLOCK, this.#used + (samples.length - at) / 3);
      for (let i = this.#used; i < end; i++) {
        samples[at++] = x[i];
        samples[at++] = y[i];
        samples[at++] = z[i];
      }
      this.#used = end;
    }
  }

  #computeBlock(): void {
    this.#severities.advance(BLOCK_SECONDS);
    const severity = this.#severities.now;
    const force = this.#force;
    for (const axis of force) axis.fill(0);
    this.#operation.advance(severity.electrical_rotor_bar);
    for (const source of this.#sources) source.addTo(force, this.#operation, severity);
    this.#structure.respond(force);
    this.#sensor.measure(this.#structure.motion, severity.sensor_fault);
  }
}
