import {
  type Condition,
  createMachine,
  FULL_SCALE_G,
  type MachineOptions,
  MachineSimulator,
  REPLACEMENT_BEARINGS,
  SAMPLE_RATE_HZ,
} from '../../../firmware-bridge/simulator/pure/index.ts';
import { type DemoSensor, encode, FRAME_SAMPLES, frameOf } from '../sources.ts';
import type { Stretch } from './judge.ts';

/** A sensor that sends for as long as it is asked, and whose machine changes when it is told to. */
export interface LoopSensor extends Omit<DemoSensor, 'truth'> {
  /** Changes the machine before its next frame, which begins a new epoch. */
  change(): void;
  /** What was true so far, under a stream's name. */
  stretches(stream: string): Stretch[];
  /** Why it is another machine afterwards, for people. */
  readonly changeText: string;
}

type Told = Omit<Stretch, 'stream'>;

/** What an overhaul does to a machine: a bearing of a make that no training machine has, and an inverter that runs it faster than they run. */
const OVERHAUL: Pick<MachineOptions, 'bearing' | 'speedRange'> = { bearing: REPLACEMENT_BEARINGS[1], speedRange: [3100, 3500] };

/** Seconds over which a fault grows, and its severity. */
const [ONSET_SECONDS, SEVERITY] = [1, 0.8];

export interface LoopMachinePlan {
  readonly machineSeed: number;
  readonly seed: number;
  /** A fault that comes by itself, and when, seconds. */
  readonly fault?: { readonly condition: Condition; readonly atSeconds: number };
}

/** A simulated machine without an end. */
export function loopMachine(name: string, streamId: number, { machineSeed, seed, fault }: LoopMachinePlan): LoopSensor {
  const scale = FULL_SCALE_G / 32_767;
  const frame = { ...frameOf(3, SAMPLE_RATE_HZ, scale), streamId };
  const physical = new Float32Array(FRAME_SAMPLES * 3);
  const faultAt = fault ? Math.floor((fault.atSeconds * SAMPLE_RATE_HZ) / FRAME_SAMPLES) * FRAME_SAMPLES : undefined;
  let simulator = new MachineSimulator({ machine: createMachine({ seed: machineSeed }), seed });
  let [epoch, at, clockSamples] = [0, 0, 0];
  const told: Told[] = [{ epoch, from: 0, ...(faultAt !== undefined && { to: faultAt }), class: 'normal', changed: false }];
  return {
    name,
    changeText: `machine is overhauled: bearing ${OVERHAUL.bearing!.name}, run at ${OVERHAUL.speedRange!.join(' to ')} rpm`,
    ...(faultAt !== undefined && { faultSeconds: faultAt / SAMPLE_RATE_HZ }),
    change() {
      told[told.length - 1] = { ...told[told.length - 1], to: at };
      simulator = new MachineSimulator({ machine: createMachine({ seed: machineSeed, ...OVERHAUL }), seed });
      [epoch, at] = [epoch + 1, 0];
      told.push({ epoch, from: 0, class: 'normal', changed: true });
    },
    next() {
      if (fault && epoch === 0 && at === faultAt) {
        simulator.setCondition(fault.condition, SEVERITY, ONSET_SECONDS);
        told.push({ epoch, from: at + ONSET_SECONDS * SAMPLE_RATE_HZ, class: fault.condition, changed: false });
      }
      simulator.next(physical);
      for (let k = 0; k < physical.length; k++) frame.samples[k] = encode(physical[k], scale);
      [frame.epoch, frame.sequence] = [epoch, at];
      frame.deviceTimeUs = Math.round((clockSamples / SAMPLE_RATE_HZ) * 1e6);
      frame.shaftSpeedRpm = simulator.shaftSpeedRpm;
      at += FRAME_SAMPLES;
      clockSamples += FRAME_SAMPLES;
      return frame;
    },
    stretches: (stream) => told.map((one) => ({ stream, ...one })),
  };
}

/** A plant without an end: the second machine is the one that changes, the third falls ill early. */
export function loopPlant(machines: number, seed: number, faultSeconds: number): LoopSensor[] {
  return Array.from({ length: machines }, (_, index) =>
    loopMachine(`machine-${index + 1}`, index, {
      // As in simulatedPlant: far from the seeds of the training plant.
      machineSeed: 1_000_003 * (index + 1) + seed,
      seed: seed + index,
      ...(index === 2 && { fault: { condition: 'bearing_outer', atSeconds: faultSeconds } }),
    }),
  );
}
