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

  constructor(url: string, truth: () => LoopTruth) {
    this.#client = connectBroker(url, () => {});
    this.#truth = truth;
  }

  /** Labels windows of a signal's evidence, spread over it. */
  async answer({ stream, evidence }: DriftSignal): Promise<void> {
    if (evidence.kind === 'none') return;
    const { windows } = evidence;
    const chosen = Array.from({ length: LOOKED_AT }, (_, index) => windows[Math.floor((index * windows.length) / LOOKED_AT)]);
    for (const { epoch, endSequence } of chosen) await this.label(stream, epoch, endSequence);
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
