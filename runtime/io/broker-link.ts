import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import mqtt, { type IClientOptions, type ISubscriptionMap, type MqttClient } from 'mqtt';

import { connectPaced } from './paced-socket.ts';
import { PublishBatch } from './publish-batch.ts';
import { SampleLane } from './sample-lane.ts';

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 10_000;

/** A connection that held so long was a good one: the next wait is short again. */
const GOOD_MS = 10_000;

/** Connections in a row that the broker closed soon, before it is said that somebody else may use the name. */
const SUSPICIOUS = 4;

/** MQTT 5.0, 3.14.2.1: the broker closes a connection because another has come with the same client identifier. */
const SESSION_TAKEN_OVER = 0x8e;

/** Bytes that wait for a slow broker; beyond them messages of QoS 0 are not taken. */
const LARGEST_WAITING_BYTES = 4 << 20;

/** Longest wait for the broker's answer to a goodbye, milliseconds. */
const GOODBYE_MS = 1000;

export interface BrokerHealth {
  connected: boolean;
  /** Connections made, and those of them that ended unasked. */
  connections: number;
  lost: number;
  /** Tries that made no connection. */
  failed: number;
  /** Connections that the broker ended because another client came with our name; only some brokers of MQTT 5 say so. */
  takenOver: number;
  lastError?: string;
}

/** Who we are to the broker. */
export interface BrokerIdentity {
  readonly clientId: string;
  readonly will?: IClientOptions['will'];
  readonly subscriptions: ISubscriptionMap;
}

export interface BrokerEvents {
  /**
   * A message of QoS 0, before all else; its payload is valid during the call.
   *
   * @returns false where it is none of the samples, and comes again as any other message
   */
  onSamples?(topic: string, payload: Uint8Array): boolean;
  onMessage(topic: string, payload: Uint8Array, retained: boolean): void;
  /** Connected and subscribed: what waits may be sent. */
  onOnline(): void;
  /** The broker has taken what waited: `post` takes more. */
  onDrained?(): void;
  onOffline(): void;
  /** Something is not as it should be; may come often. */
  onTrouble(error: string): void;
}

/**
 * A connection to a broker that is made again whenever it is lost, after waits that double up to 10 s, each shortened by up to a half at random so
 * that a hundred gateways do not come at once.
 *
 * Nothing is queued here: a message is taken while the connection stands or not at all, and each that was taken is reported as delivered or not.
 * mqtt.js's own queues have no bound, and it would hand what was in flight over again, one by one, before anything else; so each connection is a
 * new client of its own.
 */
export class BrokerLink {
  readonly health: BrokerHealth = { connected: false, connections: 0, lost: 0, failed: 0, takenOver: 0 };
  readonly #url: string;
  readonly #options: () => IClientOptions;
  readonly #events: BrokerEvents;
  #identity: BrokerIdentity;
  #client: MqttClient | undefined;
  /** Posted in this turn. */
  #posted: PublishBatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #closed = false;

  /** @param options made anew for each connection */
  constructor(url: string, options: () => IClientOptions, identity: BrokerIdentity, events: BrokerEvents) {
    this.#url = url;
    this.#options = options;
    this.#identity = identity;
    this.#events = events;
    this.#connect();
  }

  get online(): boolean {
    return this.health.connected;
  }

  /**
   * Sends a message with QoS 1.
   *
   * @param done told once whether the broker has acknowledged it; after a false it may have arrived or not
   * @returns false where there is no connection; then `done` is not called
   */
  publish(topic: string, payload: string | Uint8Array, retain: boolean, done?: (delivered: boolean) => void): boolean {
    if (!this.online || !this.#client) return false;
    this.#writePosted();
    // Buffer is what mqtt.js writes as it is.
    const bytes = typeof payload === 'string' ? payload : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    this.#client.publish(topic, bytes, { qos: 1, retain }, done && ((error) => done(!error)));
    return true;
  }

  /** Listens to another topic with QoS 0, on this connection and those to come. */
  subscribe(topic: string): void {
    this.#identity = { ...this.#identity, subscriptions: { ...this.#identity.subscriptions, [topic]: { qos: 0 } } };
    if (this.online) this.#listen(topic);
  }

  #listen(topic: string): void {
    this.#client?.subscribe(topic, { qos: 0 }, (error, granted) => {
      if (error || granted?.some(({ qos }) => (qos as number) > 2)) this.#trouble(`the broker refuses to send ${topic}`);
    });
  }

  unsubscribe(topic: string): void {
    const { [topic]: _gone, ...subscriptions } = this.#identity.subscriptions;
    this.#identity = { ...this.#identity, subscriptions };
    if (this.online) this.#client?.unsubscribe(topic);
  }

  /**
   * Sends a message with QoS 0: those of one turn are written together when it ends.
   *
   * @returns false where there is no connection, or the broker is so slow that too much waits
   */
  post(topic: string, payload: Uint8Array, retain: boolean): boolean {
    if (!this.online || !this.#client || !this.#posted) return false;
    if (this.#client.stream.writableLength + this.#posted.length > LARGEST_WAITING_BYTES) return false;
    if (this.#posted.length === 0) queueMicrotask(() => this.#writePosted());
    this.#posted.add(topic, payload, retain);
    return true;
  }

  /** Goes on as somebody else: ends the connection with a goodbye and makes another at once. */
  become(identity: BrokerIdentity): void {
    this.#identity = identity;
    this.#failures = 0;
    clearTimeout(this.#timer);
    this.#discard(false);
    this.#connect();
  }

  /** Ends the connection and makes no other. @param farewell the last message, retained */
  async close(farewell?: { readonly topic: string; readonly payload: string }): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#writePosted();
    if (farewell && this.online)
      await within(GOODBYE_MS, (done) => {
        if (!this.publish(farewell.topic, farewell.payload, true, done)) done();
      });
    const client = this.#client;
    this.#client = undefined;
    this.#setOffline();
    if (client) await within(GOODBYE_MS, (done) => client.end(false, () => done()));
    client?.end(true);
  }

  #writePosted(): void {
    if (this.#client && this.#posted && this.#posted.length > 0) this.#client.stream.write(this.#posted.take());
  }

  #connect(): void {
    let client: MqttClient;
    try {
      client = mqtt.connect(this.#url, {
        ...this.#options(),
        clientId: this.#identity.clientId,
        will: this.#identity.will,
        // Both are done here.
        reconnectPeriod: 0,
        queueQoSZero: false,
        manualConnect: true,
      });
      this.#posted = new PublishBatch(client.options.protocolVersion ?? 4);
      this.#layLane(client);
    } catch (error) {
      // A certificate that is none, or a file that has gone: may be mended while we wait.
      this.#fail(error as Error);
      return;
    }
    this.#client = client;
    client.connect();
    let connectedMs: number | undefined;
    let ended = false;
    client.on('error', (error) => {
      if (client === this.#client) this.#trouble(error.message || String(error));
    });
    client.on('disconnect', ({ reasonCode }) => {
      if (client !== this.#client || reasonCode !== SESSION_TAKEN_OVER) return;
      this.health.takenOver++;
      this.#trouble(`another client has connected as ${this.#identity.clientId}: each gateway needs a name of its own`);
    });
    client.on('connect', () => {
      if (client !== this.#client) return;
      connectedMs = performance.now();
      this.health.connections++;
      // Nagle's algorithm with delayed acknowledgements would hold a small message back for 40 ms.
      (client.stream as Partial<Socket>).setNoDelay?.(true);
      client.stream.on('drain', () => {
        if (client === this.#client && this.online) this.#events.onDrained?.();
      });
      const { subscriptions } = this.#identity;
      client.subscribe(subscriptions, (error, granted) => {
        if (client !== this.#client || ended) return;
        const refused = granted?.filter(({ qos }) => (qos as number) > 2).map(({ topic }) => topic) ?? [];
        if (error || refused.length > 0) this.#trouble(`the broker refuses to send ${refused.join(', ') || error?.message}`);
        this.health.connected = true;
        // What was asked for, and what was given up, while the broker's answer was on its way.
        for (const topic of Object.keys(this.#identity.subscriptions)) if (!Object.hasOwn(subscriptions, topic)) this.#listen(topic);
        for (const topic of Object.keys(subscriptions)) if (!Object.hasOwn(this.#identity.subscriptions, topic)) client.unsubscribe(topic);
        this.#events.onOnline();
      });
    });
    client.on('message', (topic, payload, { retain }) => {
      if (client === this.#client) this.#events.onMessage(topic, payload, retain);
    });
    client.on('close', () => {
      if (client !== this.#client || ended) return;
      ended = true;
      this.#discard(true);
      if (connectedMs === undefined) {
        this.health.failed++;
      } else {
        this.health.lost++;
        if (performance.now() - connectedMs > GOOD_MS) this.#failures = 0;
        else if (this.#failures >= SUSPICIOUS)
          this.#trouble(
            `the broker closes our connections soon after they are made: does another client call itself ${client.options.clientId}?`,
          );
      }
      this.#retry();
    });
  }

  /** Reads samples off a client's connection before the client does: it reads by `pipe`, so that is what becomes another. */
  #layLane(client: MqttClient): void {
    // Private to mqtt.js's types, and the only place at which a connection is there before it is read.
    const own = client as unknown as { streamBuilder(client: MqttClient): Duplex };
    const build = own.streamBuilder;
    own.streamBuilder = (given) => {
      let push = (_bytes: Buffer): void => {};
      const plain = client.options.protocol === 'mqtt' || client.options.protocol === 'tcp';
      const stream = plain ? connectPaced(client.options, (bytes) => push(bytes)) : build(given);
      stream.pipe = <T extends NodeJS.WritableStream>(parser: T): T => {
        const lane = new SampleLane(
          client.options.protocolVersion ?? 4,
          (topic, payload) => client === this.#client && (this.#events.onSamples?.(topic, payload) ?? false),
          (bytes) => {
            if (!parser.write(bytes)) stream.pause();
          },
        );
        push = (bytes) => lane.push(bytes);
        parser.on('drain', () => stream.resume());
        stream.on('data', push);
        stream.on('end', () => parser.end());
        return parser;
      };
      return stream;
    };
  }

  #fail(error: Error): void {
    this.health.failed++;
    this.#trouble(error.message);
    this.#retry();
  }

  #retry(): void {
    if (this.#closed) return;
    const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), longest * (1 - Math.random() / 2));
  }

  /** Gives the client up; what it had in flight is reported as not delivered. */
  #discard(lost: boolean): void {
    const client = this.#client;
    this.#client = undefined;
    this.#posted = undefined;
    this.#setOffline();
    client?.end(lost);
    // A goodbye waits for what is in flight; a broker that does not answer must not keep the client.
    if (!lost) setTimeout(() => client?.end(true), GOODBYE_MS).unref();
  }

  #setOffline(): void {
    if (!this.health.connected) return;
    this.health.connected = false;
    this.#events.onOffline();
  }

  #trouble(error: string): void {
    this.health.lastError = error;
    this.#events.onTrouble(error);
  }
}

/** Waits until `work` says that it is done, but no longer than a limit. */
async function within(limitMs: number, work: (done: () => void) => void): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, limitMs);
    work(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
