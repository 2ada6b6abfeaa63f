import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { adaptationReportSchema } from '../../../runtime/contracts/adaptation.ts';
import { driftSignalSchema } from '../../../runtime/contracts/drift.ts';
import { diagnosisSchema } from '../../../runtime/contracts/messages.ts';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { DemoObserver } from '../observer.ts';
import { GATEWAY, SITE } from '../parts.ts';
import { play } from '../player.ts';
import { alarmLine, machineLines } from '../session.ts';
import type { DemoSensor } from '../sources.ts';
import type { AlarmLine, MachineLine } from '../view.ts';
import { readLoopDisk } from './disk.ts';
import { isHopeless, judgeLoop, type LoopMeasure, type LoopStepName, type LoopTruth, type LoopVerdict, truthOf } from './judge.ts';
import type { LoopSensor } from './machines.ts';
import { Operator } from './operator.ts';
import { type LoopPartsOptions, startLoopParts } from './parts.ts';
import { type Message, TrafficRecorder } from './traffic.ts';

/** How often the observer judges. */
const JUDGE_MS = 500;
/** A loop that is not closed by then is not: stream time. */
const PATIENCE_MS = 720_000;
/** And on the wall: jobs and updates take their time at any speed. */
const LEAST_PATIENCE_MS = 180_000;
/** Windows that the operator labels after a refusal. */
const MORE_LABELS = 3;

export const TRAFFIC_FILE = 'traffic.ndjson';
export const TRUTH_FILE = 'truth.json';

export interface LoopOptions extends LoopPartsOptions {
  readonly speed: number;
  /** Samples of a window, and digest of the bundle. */
  readonly window: number;
  readonly digest: string;
  /** Which of the sensors has the machine that changes, and after how many of its windows. */
  readonly changing: number;
  readonly quietWindows: number;
  readonly measure: LoopMeasure;
  /** What the observer looks for. */
  readonly wanted: readonly LoopStepName[];
  /** Whether an operator answers the drift signal, or goes round and looks at each condition. */
  readonly operator: 'answers' | 'goesRound';
}

export interface LoopShown {
  readonly machines: readonly MachineLine[];
  readonly alarms: readonly AlarmLine[];
  readonly verdict: LoopVerdict;
}

export interface LoopResult extends LoopVerdict {
  readonly alarms: readonly AlarmLine[];
}

/** Plays sensors to a gateway until an observer has seen the loop close, or patience is at an end. */
export async function playLoop(
  sensors: readonly LoopSensor[],
  options: LoopOptions,
  onShow: (shown: LoopShown) => void,
  signal: AbortSignal,
): Promise<LoopResult> {
  const { folder, speed, window, digest, changing, measure, wanted } = options;
  const parts = await startLoopParts(
    sensors.map(({ name }) => name),
    options,
  );
  const { stream } = parts.streams[changing];
  const truth = (): LoopTruth => ({
    ...{ site: SITE, gateway: GATEWAY, stream, window, bundle: digest, measure },
    stretches: sensors.flatMap((sensor, index) => sensor.stretches(parts.streams[index].stream)),
  });
  const closers: (() => Promise<unknown>)[] = [() => parts.stop()];
  try {
    const recorder = await TrafficRecorder.start(parts.url, join(folder, TRAFFIC_FILE), SITE, GATEWAY);
    closers.unshift(() => recorder.stop());
    const observer = await DemoObserver.start(
      parts.url,
      (of, epoch, endSequence) => truthOf(truth(), { stream: of, epoch, endSequence })?.class,
    );
    closers.unshift(() => observer.stop());
    const operator = new Operator(parts.url, truth);
    closers.unshift(() => operator.stop());

    const topics = gatewayTopics(SITE, GATEWAY);
    const waveforms = sensors.map(() => new Int16Array(0));
    const shownSensors = sensors.map((sensor): DemoSensor => ({ ...sensor, truth: () => undefined }));
    const alarms = () =>
      observer.alarms.map((change) => alarmLine(change, shownSensors[parts.streams.findIndex((one) => one.stream === change.stream)]));
    let verdict: LoopVerdict = { loopClosed: false, steps: [] };
    let judging: Promise<void> | undefined;
    let failure: Error | undefined;
    let [nextJudgeMs, seen, changed, asked, worker] = [0, 0, false, false, false];
    const judge = async () => {
      verdict = judgeLoop(recorder.messages, truth(), await readLoopDisk(folder, SITE).catch(() => EMPTY_DISK), wanted);
      if (!worker && verdict.steps.some(({ name }) => name === 'recovers')) {
        worker = true;
        parts.startWorker();
      }
    };
    const onTick = () => {
      observer.check();
      if (failure) throw failure;
      if (!changed && (observer.streams.get(stream)?.judged ?? 0) >= options.quietWindows) {
        changed = true;
        sensors[changing].change();
      }
      for (; seen < recorder.messages.length; seen++) answer(recorder.messages[seen]);
      const now = performance.now();
      if (!judging && now >= nextJudgeMs) {
        nextJudgeMs = now + JUDGE_MS;
        judging = judge()
          .catch((error: Error) => {
            failure = error;
          })
          .finally(() => {
            judging = undefined;
          });
      }
      onShow({ machines: machineLines(shownSensors, parts, observer, waveforms), alarms: alarms(), verdict });
      return verdict.loopClosed || isHopeless(verdict) || now - started > Math.max(LEAST_PATIENCE_MS, PATIENCE_MS / speed);
    };
    let more = 0;
    const answer = ({ topic, text }: Message) => {
      if (!changed) return;
      if (topic === topics.drift(stream) && options.operator === 'answers' && !asked) {
        asked = true;
        void operator.answer(driftSignalSchema.parse(JSON.parse(text!)));
      } else if (topic === topics.adaptation(stream)) {
        // The guards are strict: where they refuse, the operator looks at a few more.
        const { outcome } = adaptationReportSchema.parse(JSON.parse(text!));
        if (outcome !== 'refused' && outcome !== 'abandoned') return;
        more = MORE_LABELS;
        operator.again();
      } else if (topic === topics.diagnosis(stream)) {
        const { epoch, endSequence } = diagnosisSchema.parse(JSON.parse(text!));
        if (options.operator === 'goesRound') void operator.lookAt(stream, epoch, endSequence);
        else if (more > 0) {
          more--;
          void operator.label(stream, epoch, endSequence);
        }
      }
    };
    const started = performance.now();
    await play(
      shownSensors,
      parts,
      {
        speed,
        onFrame: (index, frame) => {
          waveforms[index] = frame.samples.filter((_, at) => at % frame.channelCount === 0);
          observer.sent(parts.streams[index].stream, frame.epoch, frame.sequence + frame.samplesPerChannel);
        },
        onTick,
      },
      signal,
    );
    await judging;
    const { messages } = recorder;
    await writeFile(join(folder, TRUTH_FILE), JSON.stringify(truth()));
    // Once more, from what will be there for others to judge.
    const last = judgeLoop(messages, truth(), await readLoopDisk(folder, SITE), wanted);
    return { ...last, alarms: alarms() };
  } finally {
    for (const close of closers) await close();
  }
}

const EMPTY_DISK = { learned: {}, models: [], rollouts: [], signed: [] };
