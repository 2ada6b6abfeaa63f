import type { IPublishPacket, MqttClient } from 'mqtt';
import { sha256 } from '../../models/bundle/bundle.ts';
import { decodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { adapterStatementSchema } from '../../runtime/contracts/adaptation.ts';
import { type DriftSignal, driftSignalSchema } from '../../runtime/contracts/drift.ts';
import { labelReceiptSchema } from '../../runtime/contracts/label.ts';
import { gatewayOfTopic, siteTopics, streamOfTopic } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { brokerOptions } from '../../runtime/io/broker-options.ts';
import type { BrokerConfiguration } from '../../runtime/io/configuration.ts';
import type { Arrival, Store } from './store.ts';

/** No signal with its evidence, and no adapter, is larger. */
const LARGEST_MESSAGE_BYTES = 1 << 20;

export interface IntakeCounters {
  /** On disk, and then acknowledged. */
  kept: number;
  /** Had come before. */
  repeated: number;
  /** Not what their topic promises: acknowledged, counted, and nothing else. */
  refused: number;
  metrics: number;
}

/** What an intake listens to. */
export interface IntakeOptions {
  readonly sites: readonly string[];
  /** Topics of business metrics. */
  readonly metrics: readonly string[];
  /** Unique among all clients of the broker, the same after a restart: what comes meanwhile waits under it. */
  readonly clientId: string;
}

/**
 * Takes signals, labels, adapters and metrics from the broker. A message is acknowledged when it is on disk, and no sooner; whoever is killed in
 * between gets it again, and what comes twice counts once.
 */
export class Intake {
  readonly counters: IntakeCounters = { kept: 0, repeated: 0, refused: 0, metrics: 0 };
  readonly #client: MqttClient;
  readonly #store: Store;
  readonly #options: IntakeOptions;
  readonly #onError: (error: Error) => void;
  readonly #onKept: () => void;
  /** On this connection. */
  #subscribed = false;
  /** On any: from then on the broker keeps what comes. */
  #hasSubscribed = false;

  /** @param onKept called after each new arrival */
  constructor(store: Store, broker: BrokerConfiguration, options: IntakeOptions, onKept: () => void, onError: (error: Error) => void) {
    this.#store = store;
    this.#options = options;
    this.#onError = onError;
    this.#onKept = onKept;
    this.#client = connectBroker(broker.url, onError, {
      ...brokerOptions(broker),
      clientId: options.clientId,
      // The broker keeps what comes while we are away.
      clean: false,
      resubscribe: false,
    });
    // mqtt.js acknowledges after this; with an error it drops the connection, and the broker sends it again.
    this.#client.handleMessage = (packet: IPublishPacket, done) => {
      this.#take(packet).then(
        () => done(),
        (error: Error) => {
          this.#onError(error);
          // Not acknowledged: on the next connection it comes again.
          if (!this.#client.reconnecting) this.#client.stream.destroy();
        },
      );
    };
    this.#client.on('connect', ({ sessionPresent }) => {
      // What gateways had acknowledged between the broker's return and ours came to nobody.
      if (this.#hasSubscribed && !sessionPresent)
        onError(new Error('the broker has forgotten this server: what came meanwhile is lost; let it keep its sessions on disk'));
      void this.#subscribe().catch(onError);
    });
    this.#client.on('close', () => {
      this.#subscribed = false;
    });
  }

  /** Connected and subscribed: what is published from now on comes, if only later. */
  get listening(): boolean {
    return this.#client.connected && this.#subscribed;
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }

  async #subscribe(): Promise<void> {
    const topics = this.#options.sites.flatMap((site) => {
      const { allDrift, allLabelled, allAdapters } = siteTopics(site);
      return [allDrift, allLabelled, allAdapters];
    });
    await this.#client.subscribeAsync([...topics, ...this.#options.metrics], { qos: 1 });
    this.#subscribed = this.#hasSubscribed = true;
  }

  async #take({ topic, payload }: IPublishPacket): Promise<void> {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
    if (this.#options.metrics.includes(topic)) {
      const value = metricOf(bytes);
      if (value === undefined) this.counters.refused++;
      else {
        await this.#store.keepMetric(topic, Date.now(), value);
        this.counters.metrics++;
        this.#onKept();
      }
      return;
    }
    const arrival = arrivalOf(topic, bytes);
    if (!arrival) {
      this.counters.refused++;
      return;
    }
    if (await this.#store.keep(arrival)) {
      this.counters.kept++;
      this.#onKept();
    } else this.counters.repeated++;
  }
}

/** A number, or `{"value": number}`. */
function metricOf(bytes: Uint8Array): number | undefined {
  try {
    const said = JSON.parse(new TextDecoder().decode(bytes)) as number | { value?: unknown };
    const value = typeof said === 'number' ? said : said?.value;
    return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What a message says; undefined where it is not what its topic promises. */
export function arrivalOf(topic: string, bytes: Uint8Array): Arrival | undefined {
  if (bytes.length > LARGEST_MESSAGE_BYTES) return undefined;
  const [, , site, , kind] = topic.split('/');
  const origin = { site, gateway: gatewayOfTopic(topic), stream: streamOfTopic(topic) };
  try {
    if (kind === 'adapter') return adapterArrival(origin, bytes);
    const said = JSON.parse(new TextDecoder().decode(bytes));
    if (kind === 'labelled') {
      const { label } = labelReceiptSchema.parse(said);
      if (label.stream !== origin.stream) return undefined;
      return {
        ...origin,
        kind: 'label',
        id: label.id,
        atMs: Date.parse(label.at),
        pseudonym: label.annotator,
        body: JSON.stringify(label),
      };
    }
    const { evidence, ...signal } = driftSignalSchema.parse(said);
    return {
      ...origin,
      kind: 'signal',
      id: signal.id,
      atMs: Date.parse(signal.at),
      pseudonym: signal.asset,
      body: JSON.stringify({ ...signal, evidence: withoutSamples(evidence) }),
      windows: evidence.kind === 'raw' ? evidence.windows.filter(isWhole) : [],
    };
  } catch {
    return undefined;
  }
}

/** Samples lie by themselves; how each window was decided says what a label of it would tell. */
function withoutSamples(evidence: DriftSignal['evidence']): object {
  if (evidence.kind !== 'raw') return evidence;
  return { ...evidence, windows: evidence.windows.map(({ scales: _, codes: __, ...window }) => window) };
}

/** Numbers that can be multiplied: whole samples of every channel. */
function isWhole({ scales, codes }: { scales: readonly number[]; codes: string }): boolean {
  return scales.length > 0 && Buffer.from(codes, 'base64').length % (2 * scales.length) === 0;
}

/** Whether the signature holds is seen when the adapter is to be used: for that, its base must be known. */
function adapterArrival(origin: { site: string; gateway: string; stream: string }, bytes: Uint8Array): Arrival | undefined {
  const { metadata } = decodeSafetensors(bytes, 'adapter');
  const statement = adapterStatementSchema.parse(JSON.parse(metadata.statement ?? ''));
  if (statement.site !== origin.site || statement.gateway !== origin.gateway || statement.stream !== origin.stream) return undefined;
  const body = JSON.stringify({ statement, file: Buffer.from(bytes).toString('base64') });
  return { ...origin, kind: 'adapter', id: sha256(bytes), atMs: Date.parse(statement.at), body };
}
