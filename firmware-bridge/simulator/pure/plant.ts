import type { BearingGeometry } from './bearing.ts';
import { CONDITIONS, type Condition } from './conditions.ts';
import { createMachine } from './machine.ts';
import { SAMPLE_RATE_HZ } from './operation.ts';
import { Random } from './random.ts';
import type { SensorFaultKind } from './sensor-fault.ts';
import { MachineSimulator } from './simulator.ts';

/** All that a recording follows from. */
export interface RecordingPlan {
  readonly machineSeed: number;
  readonly condition: Condition;
  /** 0 to 1; of no effect when the condition is 'normal'. */
  readonly severity: number;
  readonly seconds: number;
  /** What this recording draws: noise, phases, the course of the load. */
  readonly seed: number;
  /** Mean load, as a share of full load. Default 0.75. */
  readonly load?: number;
  readonly bearing?: BearingGeometry;
  readonly speedRange?: readonly [minRpm: number, maxRpm: number];
}

export interface RecordingMeta {
  /** The unit of any split: recordings of one machine belong on one side. */
  readonly machine: string;
  readonly condition: Condition;
  readonly severity: number;
  /** Mean over the recording. */
  readonly rpm: number;
  /** Mean over the recording. */
  readonly load: number;
  /** Only when the condition is 'sensor_fault'. */
  readonly sensorFault?: SensorFaultKind;
}

export interface Recording {
  /** [n, 3], interleaved, in g at 1 kHz. */
  readonly samples: Float32Array;
  readonly meta: RecordingMeta;
}

export interface PlantOptions {
  readonly machines: number;
  /** Length of every recording. */
  readonly seconds: number;
  readonly seed: number;
  /** Default: all twelve. */
  readonly conditions?: readonly Condition[];
  /** Severities of faults are drawn uniformly from here. Default 0.5 to 1. */
  readonly severityRange?: readonly [lowest: number, highest: number];
  /** One recording of every machine in every condition at each of these mean loads. Default 0.5, 0.75 and 1. */
  readonly loads?: readonly number[];
  /** One make of bearing in all machines, or another range of speeds: the same individuals, shifted. */
  readonly bearing?: BearingGeometry;
  readonly speedRange?: readonly [minRpm: number, maxRpm: number];
}

/** Speed and load are averaged over steps of this length. */
const STEP_SECONDS = 0.064;

export function simulateRecording(plan: RecordingPlan): Recording {
  const { machineSeed, condition, severity, seconds, seed, load, bearing, speedRange } = plan;
  const machine = createMachine({ seed: machineSeed, bearing, speedRange });
  const simulator = new MachineSimulator({
    machine,
    condition,
    severity,
    seed,
    profile: load === undefined ? {} : { meanLoad: load },
  });
  const samples = new Float32Array(Math.round(seconds * SAMPLE_RATE_HZ) * 3);
  const stepLength = STEP_SECONDS * SAMPLE_RATE_HZ * 3;
  let steps = 0;
  let rpmSum = 0;
  let loadSum = 0;
  for (let at = 0; at < samples.length; at += stepLength) {
    simulator.next(samples.subarray(at, at + stepLength));
    steps++;
    rpmSum += simulator.shaftSpeedRpm;
    loadSum += simulator.load;
  }
  return {
    samples,
    meta: {
      machine: `machine-${machineSeed}`,
      condition,
      severity: condition === 'normal' ? 0 : severity,
      rpm: rpmSum / steps,
      load: loadSum / steps,
      ...(condition === 'sensor_fault' && { sensorFault: simulator.sensorFault }),
    },
  };
}

/** What a data set consists of, without its samples: every machine in every condition at every load, machine by machine. */
export function* planPlant(options: PlantOptions): Generator<RecordingPlan> {
  const { machines, seconds, seed, bearing, speedRange } = options;
  const { conditions = CONDITIONS, severityRange = [0.5, 1], loads = [0.5, 0.75, 1] } = options;
  const fleet = new Random(seed, 'fleet');
  for (let i = 0; i < machines; i++) {
    const machineSeed = fleet.int32() >>> 0;
    const runs = new Random(machineSeed, 'runs');
    for (const condition of conditions) {
      for (const load of loads) {
        const severity = condition === 'normal' ? 0 : runs.uniform(...severityRange);
        yield { machineSeed, condition, severity, seconds, seed: runs.int32() >>> 0, load, bearing, speedRange };
      }
    }
  }
}

/** The recordings of `planPlant`, made one at a time as they are asked for. */
export function* plant(options: PlantOptions): Generator<Recording> {
  for (const plan of planPlant(options)) yield simulateRecording(plan);
}
