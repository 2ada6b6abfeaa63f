import { type AlarmChange, alarmChangeSchema } from '../../runtime/contracts/alarm-change.ts';
import { type Diagnosis, diagnosisSchema, type Status, statusSchema } from '../../runtime/contracts/messages.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { GATEWAY, SITE } from './parts.ts';

/** What became of one stream. */
export interface StreamView {
  latest: Diagnosis | undefined;
  /** True class of its latest window, where it is known. */
  truth: string | undefined;
  /** Windows whose truth is known, and how many of those were decided right. */
  judged: number;
  right: number;
}

/** True class of the window of a stream that ends before `endSequence`; undefined where it is not known. */
export type Truth = (stream: string, epoch: number, endSequence: number) => string | undefined;

/** Watches a gateway from outside, as any subscriber would. Knows what was sent only by being told. */
export class DemoObserver {
  readonly streams = new Map<string, StreamView>();
  readonly alarms: AlarmChange[] = [];
  readonly byClass: Record<string, { judged: number; right: number }> = {};
  /** From the sending of a window's last frame to the receipt of its decision, milliseconds. */
  readonly latenciesMs: number[] = [];
  windows = 0;
  status: Status | undefined;
  readonly #truth: Truth;
  readonly #sentAt = new Map<string, number>();
  readonly #client: ReturnType<typeof connectBroker>;
  #failure: Error | undefined;

  private constructor(url: string, truth: Truth) {
    this.#truth = truth;
    this.#client = connectBroker(url, () => {});
  }

  static async start(url: string, truth: Truth): Promise<DemoObserver> {
    const observer = new DemoObserver(url, truth);
    const topics = gatewayTopics(SITE, GATEWAY);
    observer.#client.on('message', (topic, payload) => {
      try {
        const message: unknown = JSON.parse(payload.toString());
        if (topic === topics.status) observer.status = statusSchema.parse(message);
        else if (topic.startsWith(topics.alarm(''))) observer.alarms.push(alarmChangeSchema.parse(message));
        else observer.#diagnosed(diagnosisSchema.parse(message));
      } catch (error) {
        observer.#failure ??= error as Error;
      }
    });
    await observer.#client.subscribeAsync([topics.allDiagnoses, topics.allAlarms, topics.status], { qos: 1 });
    return observer;
  }

  /** A frame that ends before this sample was sent now. */
  sent(stream: string, epoch: number, endSequence: number): void {
    this.#sentAt.set(`${stream}/${epoch}/${endSequence}`, performance.now());
  }

  /** @throws Error where a message came that should not have */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  async stop(): Promise<void> {
    await this.#client.endAsync();
  }

  #diagnosed(diagnosis: Diagnosis): void {
    const { stream, epoch, endSequence, decision } = diagnosis;
    const key = `${stream}/${epoch}/${endSequence}`;
    const sent = this.#sentAt.get(key);
    if (sent === undefined) throw new Error(`a decision on ${key}, which nobody sent`);
    this.#sentAt.delete(key);
    this.windows++;
    this.latenciesMs.push(performance.now() - sent);
    let view = this.streams.get(stream);
    if (!view) {
      view = { latest: undefined, truth: undefined, judged: 0, right: 0 };
      this.streams.set(stream, view);
    }
    view.latest = diagnosis;
    view.truth = this.#truth(stream, epoch, endSequence);
    if (view.truth === undefined) return;
    this.byClass[view.truth] ??= { judged: 0, right: 0 };
    for (const counts of [view, this.byClass[view.truth]]) {
      counts.judged++;
      if (decision === view.truth) counts.right++;
    }
  }
}
