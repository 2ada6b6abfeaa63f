import type { ISubscriptionMap } from 'mqtt';
import type { Frame, SampleFrame } from '../../firmware-bridge/codec/frame.ts';
import { createSampleFrame, decodeFrame } from '../../firmware-bridge/codec/index.ts';
import { TopicPattern } from '../contracts/topic-pattern.ts';
import { gatewayTopics, isTopicName, streamOfTopic } from '../contracts/topics.ts';
import { ForeignStream } from '../sources/index.ts';
import { type ForeignTopic, type GatewayConfiguration, isForeignTopic } from './configuration.ts';

export type MessageSourceSettings = Pick<GatewayConfiguration, 'site' | 'gateway' | 'broker' | 'mqtt' | 'foreign' | 'largestStreams'>;

/** Frames are valid during the call. */
export type OnStreamFrame = (stream: string, frame: SampleFrame) => void;

/** Where the messages of one topic go. */
type Route = { readonly name: string; readonly foreign?: ForeignStream };

/** All sample sources that come over MQTT: frames on the gateway's own topics and on others, and foreign formats. */
export class MessageSources {
  /** Messages that were no frame, by cause; `topic`: of a topic that gives no stream's name. */
  readonly framesRefused: Record<string, number> = {};
  readonly #settings: MessageSourceSettings;
  readonly #onFrame: OnStreamFrame;
  readonly #onOther: (stream: string, frame: Frame) => void;
  readonly #onRefused: (topic: string, cause: string) => void;
  readonly #ownSamples: string;
  readonly #patterns: { readonly pattern: TopicPattern; readonly source: string; readonly format?: ForeignTopic['format'] }[];
  /** By topic, so that patterns are looked through once a topic. */
  readonly #routes = new Map<string, Route>();
  readonly #foreign = new Map<string, ForeignStream>();
  readonly #sourceOf = new Map<string, string>();
  // Frames are decoded into one reused frame: nothing is allocated a sample.
  readonly #reused = createSampleFrame();

  /**
   * @param onOther gets frames that carry no samples: heartbeats, descriptions
   * @param onRefused hears of each message that was refused, or of which a part was
   */
  constructor(
    settings: MessageSourceSettings,
    onFrame: OnStreamFrame,
    onOther: (stream: string, frame: Frame) => void,
    onRefused: (topic: string, cause: string) => void,
  ) {
    this.#settings = settings;
    this.#onFrame = onFrame;
    this.#onOther = onOther;
    this.#onRefused = onRefused;
    this.#ownSamples = gatewayTopics(settings.site, settings.gateway).samples('');
    const foreign = settings.foreign.filter(isForeignTopic);
    this.#patterns = [
      ...settings.mqtt.map(({ topic, stream }) => ({ pattern: new TopicPattern(topic, stream), source: stream })),
      ...foreign.map(({ topic, stream, format }) => ({ pattern: new TopicPattern(topic, stream), source: stream, format })),
    ];
  }

  /** What to ask the broker for. */
  get subscriptions(): ISubscriptionMap {
    const { site, gateway, broker, mqtt, foreign } = this.#settings;
    const others = [...mqtt, ...foreign.filter(isForeignTopic)];
    return Object.fromEntries([
      [gatewayTopics(site, gateway).allSamples, { qos: broker.qos }],
      ...others.map(({ topic, qos }) => [topic, { qos: qos ?? broker.qos }] as const),
    ]);
  }

  /** Takes a message. `nowUs`: a monotonic clock, microseconds. @returns false where the topic belongs to none of the sources */
  take(topic: string, payload: Uint8Array, nowUs: number): boolean {
    const route = this.#routes.get(topic) ?? this.#find(topic);
    if (route === undefined) return false;
    if (route === 'nameless') this.#refuse(topic, 'topic');
    else if (route.foreign) {
      const refused = route.foreign.message(payload, nowUs);
      if (refused) this.#onRefused(topic, refused);
    } else {
      const frame = decodeFrame(payload, this.#reused);
      if (frame.kind === 'samples') this.#onFrame(route.name, frame);
      else if (frame.kind === 'refused') this.#refuse(topic, frame.code);
      else this.#onOther(route.name, frame);
    }
    return true;
  }

  /** The broker was away. */
  interrupted(): void {
    for (const stream of this.#foreign.values()) stream.interrupted();
  }

  /** Counters of the foreign sources by their name in the configuration: a pattern's streams together. */
  foreignCounters(): Record<string, Record<string, number>> {
    const sums: Record<string, Record<string, number>> = {};
    for (const [name, { health, clippedValues }] of this.#foreign) {
      const source = this.#sourceOf.get(name) ?? name;
      sums[source] ??= {};
      for (const [counter, count] of Object.entries({ ...health, clippedValues }))
        sums[source][counter] = (sums[source][counter] ?? 0) + count;
    }
    return sums;
  }

  #refuse(topic: string, cause: string): void {
    this.#onRefused(topic, cause);
    this.framesRefused[cause] = (this.framesRefused[cause] ?? 0) + 1;
  }

  #find(topic: string): Route | 'nameless' | undefined {
    const route = this.#make(topic);
    // Topics that come once must not fill the memory; beyond the bound they are looked up each time.
    if (typeof route === 'object' && this.#routes.size < 2 * this.#settings.largestStreams) this.#routes.set(topic, route);
    return route;
  }

  #make(topic: string): Route | 'nameless' | undefined {
    if (topic.startsWith(this.#ownSamples)) {
      const name = streamOfTopic(topic);
      return isTopicName(name) ? { name } : 'nameless';
    }
    for (const { pattern, source, format } of this.#patterns) {
      const name = pattern.match(topic);
      if (name === undefined) continue;
      if (!format) return { name };
      const foreign = this.#foreign.get(name) ?? this.#openForeign(name, source, format);
      return foreign ? { name, foreign } : 'nameless';
    }
    return undefined;
  }

  #openForeign(name: string, source: string, format: ForeignTopic['format']): ForeignStream | undefined {
    if (this.#foreign.size >= this.#settings.largestStreams) return undefined;
    const stream = new ForeignStream(format, (frame) => this.#onFrame(name, frame), 0, freshEpoch());
    this.#foreign.set(name, stream);
    this.#sourceOf.set(name, source);
    return stream;
  }
}

/** An epoch that the last run did not have, unless it began to the second 18 hours ago. */
export function freshEpoch(): number {
  return Math.floor(Date.now() / 1000) & 0xffff;
}
