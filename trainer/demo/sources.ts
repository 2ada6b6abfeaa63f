import { createSampleFrame, type SampleFrame } from '../../firmware-bridge/codec/frame.ts';
import {
  CONDITIONS,
  type Condition,
  createMachine,
  FULL_SCALE_G,
  MachineSimulator,
  SAMPLE_RATE_HZ,
} from '../../firmware-bridge/simulator/pure/index.ts';
import type { Recording } from '../data/recording-set.ts';

/** Samples in one frame, per channel. */
export const FRAME_SAMPLES = 64;

/** One sensor on one machine: what it sends next, and what is true of what it sent. */
export interface DemoSensor {
  readonly name: string;
  /** The next frame, in a frame that is used again; undefined at the end. */
  next(): SampleFrame | undefined;
  /** When its machine begins to be faulty, seconds of the device's clock; absent where it stays healthy, or nobody knows. */
  readonly faultSeconds?: number;
  /** True class of the window that ends before `endSequence`; undefined where it spans a change or is not known. */
  truth(epoch: number, endSequence: number): string | undefined;
}

export function frameOf(channels: number, sampleRateHz: number, scale: number): SampleFrame {
  return {
    ...createSampleFrame(channels, FRAME_SAMPLES * channels),
    sampleRateHz,
    channelCount: channels,
    samplesPerChannel: FRAME_SAMPLES,
    scales: new Float32Array(channels).fill(scale),
  };
}

/** A sensor's code of a physical value; what lies beyond its range is clipped, as a sensor clips it. */
export function encode(value: number, scale: number): number {
  return Math.max(-32_767, Math.min(32_767, Math.round(value / scale)));
}

/**
 * Sends recordings one after the other. Each begins a new epoch, as a device does that was switched off between them, so that no window spans
 * two recordings.
 */
export function recordedSensor(name: string, streamId: number, recordings: readonly Recording[], scale: number): DemoSensor {
  const [{ channels, sampleRateHz }] = recordings;
  const frame: SampleFrame = { ...frameOf(channels.length, sampleRateHz, scale), streamId };
  let [index, at, clockUs] = [0, 0, 0];
  return {
    name,
    next() {
      while (index < recordings.length && at + FRAME_SAMPLES > recordings[index].length) [index, at] = [index + 1, 0];
      if (index >= recordings.length) return undefined;
      const samples = recordings[index].read(at, FRAME_SAMPLES);
      for (let k = 0; k < frame.samples.length; k++) frame.samples[k] = encode(samples[k], scale);
      frame.epoch = index;
      frame.sequence = at;
      frame.deviceTimeUs = Math.round(clockUs);
      at += FRAME_SAMPLES;
      clockUs += (FRAME_SAMPLES / sampleRateHz) * 1e6;
      return frame;
    },
    truth: (epoch) => recordings[epoch]?.label ?? undefined,
  };
}

/** Seconds over which a simulated fault grows to its full severity. */
const ONSET_SECONDS = 1;

/** A simulated machine that runs healthy for a while and then develops a fault. */
export function simulatedSensor(
  name: string,
  streamId: number,
  plan: { machineSeed: number; seed: number; fault: Condition; severity: number; healthySeconds: number; seconds: number; window: number },
): DemoSensor {
  const scale = FULL_SCALE_G / 32_767;
  const channels = 3;
  const simulator = new MachineSimulator({ machine: createMachine({ seed: plan.machineSeed }), seed: plan.seed });
  const frame: SampleFrame = { ...frameOf(channels, SAMPLE_RATE_HZ, scale), streamId };
  const physical = new Float32Array(FRAME_SAMPLES * channels);
  const total = Math.floor(plan.seconds * SAMPLE_RATE_HZ);
  const change = Math.floor((plan.healthySeconds * SAMPLE_RATE_HZ) / FRAME_SAMPLES) * FRAME_SAMPLES;
  const settled = change + ONSET_SECONDS * SAMPLE_RATE_HZ;
  let at = 0;
  return {
    name,
    ...(plan.fault !== 'normal' && { faultSeconds: change / SAMPLE_RATE_HZ }),
    next() {
      if (at + FRAME_SAMPLES > total) return undefined;
      if (at === change && plan.fault !== 'normal') simulator.setCondition(plan.fault, plan.severity, ONSET_SECONDS);
      simulator.next(physical);
      for (let k = 0; k < physical.length; k++) frame.samples[k] = encode(physical[k], scale);
      frame.sequence = at;
      frame.deviceTimeUs = Math.round((at / SAMPLE_RATE_HZ) * 1e6);
      frame.shaftSpeedRpm = simulator.shaftSpeedRpm;
      at += FRAME_SAMPLES;
      return frame;
    },
    truth(_epoch, endSequence) {
      if (endSequence <= change || plan.fault === 'normal') return 'normal';
      return endSequence - plan.window >= settled ? plan.fault : undefined;
    },
  };
}

/** A plant of simulated machines that no training has seen: all but one stay healthy. */
export function simulatedPlant(machines: number, seconds: number, seed: number, window: number): DemoSensor[] {
  const faults = CONDITIONS.slice(1);
  const faulty = Math.min(1, machines - 1);
  return Array.from({ length: machines }, (_, index) =>
    simulatedSensor(`machine-${index + 1}`, index, {
      // Far from the seeds of the training plant, which are drawn below 2^32 by another generator.
      machineSeed: 1_000_003 * (index + 1) + seed,
      seed: seed + index,
      fault: index === faulty ? faults[(3 + seed) % faults.length] : 'normal',
      severity: 0.8,
      healthySeconds: seconds * 0.4,
      seconds,
      window,
    }),
  );
}
