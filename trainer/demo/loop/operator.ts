import { randomUUID } from 'node:crypto';
import type { DriftSignal } from '../../../runtime/contracts/drift.ts';
import type { Label } from '../../../runtime/contracts/label.ts';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { connectBroker } from '../../../runtime/io/broker-client.ts';
import { type LoopTruth, truthOf } from './judge.ts';

/** Windows that an operator looks at. */
const LOOKED_AT = 3;

/** Stands before the machine: when asked about windows, says over MQTT what is true of them. */
export class Operator {
  readonly #client: ReturnType<typeof connectBroker>;
  readonly #truth: () => LoopTruth;
  /** Class of the stretches that one window was labelled of, by epoch. */
  readonly #lookedAt = new Map<number, string>();
  #rounds = LOOKED_AT;

  constructor(url: string, truth: () => LoopTruth) {
    this.#client = connectBroker(url, () => {});
    this.#truth = truth;
  }

  /** Labels the windows of a signal's evidence that were decided most surely: where those are wrong, they cost most. */
  async answer({ stream, evidence }: DriftSignal): Promise<void> {
    if (evidence.kind === 'none') return;
    const sureness = ({ probabilities }: (typeof evidence.windows)[number]) => Math.max(...probabilities);
    const chosen = [...evidence.windows].sort((a, b) => sureness(b) - sureness(a)).slice(0, LOOKED_AT);
    for (const { epoch, endSequence } of chosen) await this.label(stream, epoch, endSequence);
  }

  /** What was labelled did not do: on the round, one more window of each class is looked at. */
  again(): void {
    this.#rounds++;
  }

  /** Labels a window in the midst of a stretch behind the change, up to three of each class. */
  async lookAt(stream: string, epoch: number, endSequence: number): Promise<void> {
    const truth = this.#truth();
    const known = truthOf(truth, { stream, epoch, endSequence });
    if (!known?.changed || endSequence - known.from < 2 * truth.window || this.#lookedAt.has(epoch)) return;
    const before = [...this.#lookedAt.values()].filter((name) => name === known.class).length;
    if (before >= this.#rounds) return;
    this.#lookedAt.set(epoch, known.class);
    await this.label(stream, epoch, endSequence);
  }

  /** Labels one window, where it is known what it shows. */
  async label(stream: string, epoch: number, endSequence: number): Promise<void> {
    const truth = this.#truth();
    const known = truthOf(truth, { stream, epoch, endSequence });
    if (!known) return;
    const label: Label = {
      ...{ id: randomUUID(), stream, at: new Date().toISOString(), annotator: 'operator-1', tier: 'first', verdict: 'correct' },
      class: known.class,
      subject: { kind: 'window', epoch, endSequence },
    };
    const topics = gatewayTopics(truth.site, truth.gateway);
    await this.#client.publishAsync(topics.label(stream), JSON.stringify(label), { qos: 1 });
  }

  async stop(): Promise<void> {
    await this.#client.endAsync();
  }
}
