import { randomUUID } from 'node:crypto';
import { adaptationReportSchema } from '../../runtime/contracts/adaptation.ts';
import type { Label } from '../../runtime/contracts/label.ts';
import { diagnosisSchema } from '../../runtime/contracts/messages.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { type Disturbance, DisturbanceWatch, familyCpuMs } from '../harness/disturbance.ts';
import { GATEWAY, type MarkedLoadOptions, SITE, withMarkedLoad } from '../streams/marked-load.ts';
import type { Quantiles } from '../streams/quantiles.ts';

/** Labels that a stream gets before it is the next one's turn: sooner than an adaptation takes, so that there is always one to learn. */
const LABELS = 3;
/** Looked at between two labels, so that they are of different windows. */
const BETWEEN_MS = 300;

export interface LearningLatency {
  readonly windowsExpected: number;
  readonly windowsDecided: number;
  /** Adaptations that ended while labels came, and their processor time. */
  readonly adaptations: number;
  readonly learningSeconds: number;
  /** From frame due to diagnosis received: before anything is learned, while, and after. */
  readonly before: Quantiles;
  readonly during: Quantiles;
  readonly after: Quantiles;
  readonly disturbance: Disturbance;
}

/** Latency of live streams while their gateway learns adapters one after the other, beside that of the same run without: a third each. */
export async function measureLearningLatency(
  options: MarkedLoadOptions & { progress(line: string): void },
): Promise<LearningLatency | { readonly skipped: string }> {
  const { streams, seconds, progress } = options;
  const topics = gatewayTopics(SITE, GATEWAY);
  const prepare = async () => ({ learn: { settleSeconds: 0.1, shadowWindows: 2 }, drift: { evidence: 'none' } });
  return withMarkedLoad(options, prepare, async ({ client, generator, windowsExpected }) => {
    let [adaptations, learningSeconds, stream] = [0, 0, 0];
    let arrived: ((text: string) => void) | undefined;
    client.on('message', (topic, payload) => {
      if (topic.startsWith(topics.adaptation(''))) {
        const { outcome, seconds: spent } = adaptationReportSchema.parse(JSON.parse(payload.toString()));
        if (outcome === 'shadow') return;
        adaptations++;
        learningSeconds += spent?.cpu ?? 0;
      } else if (topic === topics.diagnosis(`s${stream}`)) arrived?.(payload.toString());
    });
    await client.subscribeAsync([topics.allAdaptations, topics.allDiagnoses], { qos: 0 });
    progress(`${streams} streams for ${seconds} s, labels in the second third`);
    const watch = new DisturbanceWatch(familyCpuMs);
    const third = (1000 * seconds) / 3;
    generator.begin();
    await pause(third);
    generator.mark();
    for (const end = performance.now() + third; performance.now() < end; stream = (stream + 1) % streams) {
      for (let count = 0; count < LABELS; count++) {
        const text = await new Promise<string>((resolve) => {
          arrived = resolve;
        });
        await client.publishAsync(topics.label(`s${stream}`), JSON.stringify(labelOf(text, stream)), { qos: 1 });
        await pause(BETWEEN_MS);
      }
    }
    generator.mark();
    const report = await generator.report;
    const [before, during, after] = report.latencyMsByMark;
    const { windowsDecided } = report;
    return { windowsExpected, windowsDecided, adaptations, learningSeconds, before, during, after, disturbance: watch.finish() };
  });
}

/** Says that a window is what it was decided to be. */
function labelOf(text: string, stream: number): Label {
  const { epoch, endSequence, decision } = diagnosisSchema.parse(JSON.parse(text));
  return {
    ...{ id: randomUUID(), stream: `s${stream}`, at: new Date().toISOString(), annotator: 'bench', tier: 'first', verdict: 'correct' },
    class: decision,
    subject: { kind: 'window', epoch, endSequence },
  };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
