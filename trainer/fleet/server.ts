import { randomUUID } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import { gatewayOfTopic, siteTopics } from '../../runtime/contracts/topics.ts';
import { siteRole } from '../../runtime/contracts/update.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { brokerOptions } from '../../runtime/io/broker-options.ts';
import type { BrokerConfiguration } from '../../runtime/io/configuration.ts';
import type { Lock } from '../../runtime/io/lock.ts';
import { Refusal } from '../refusal.ts';
import { GatewayWatch } from './gateway-watch.ts';
import type { Repository } from './repository.ts';
import { RESPONDER_DEFAULTS, Responder, type ResponderCounters, type ResponderOptions } from './responder.ts';
import {
  advance,
  hasGoneBack,
  isRecalled,
  isWithdrawn,
  listenAgain,
  observe,
  type Rollout,
  reachedBy,
  releasedTo,
  sitesOfRollout,
  waitingForTimestamp,
} from './rollout.ts';
import { changeRollout, readRollouts, signSites } from './rollout-store.ts';

/** How often the folder is looked at for what other processes did, and time's rules are applied. */
const TICK_MS = 500;

/** Longest wait from a gateway's word to the rules, so that a hundred of them make one write. */
const GATHER_MS = 50;

const RENEW_MS = 60_000;

/** How often gateways that could not go on are asked to look again. */
const NUDGE_MS = 15_000;

/** Longest wait for work under way when the server is closed. */
const GOODBYE_MS = 2000;

/** What happens, for a log. */
export interface ServerEvents {
  onEvent(event: string, details: Record<string, unknown>): void;
}

/**
 * The server's side of updates: keeps each site's timestamp on the broker and signed, answers gateways, and leads every rollout of the repository by the
 * rules. Of one repository one process does this at a time; which, is of no matter, for all that it knows lies on disk or on the broker.
 */
export class FleetServer {
  readonly watch = new GatewayWatch();
  readonly #repository: Repository;
  readonly #client: MqttClient;
  readonly #lock: Lock;
  readonly #responder: Responder;
  readonly #events: ServerEvents;
  /** Objects that a site may ask for. */
  #allowed = new Map<string, Set<string>>();
  /** Gateways that rollouts wait for, by object and site (`OBJECT/SITE`), and by site alone. */
  #awaited = new Map<string, Set<string>>();
  #sites: readonly string[] = [];
  /** The timestamp that each site was told last. */
  readonly #told = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;
  #working: Promise<void> | undefined;
  #again = false;
  #renewedMs = Number.NEGATIVE_INFINITY;
  #nudgedMs = Number.NEGATIVE_INFINITY;
  #listening = false;
  #closed = false;

  /** @returns undefined where another process serves this repository */
  static async tryStart(
    repository: Repository,
    broker: BrokerConfiguration,
    events: ServerEvents,
    options: Partial<ResponderOptions> = {},
  ): Promise<FleetServer | undefined> {
    const lock = await repository.tryServe();
    return lock && new FleetServer(repository, broker, lock, events, { ...RESPONDER_DEFAULTS, ...options });
  }

  private constructor(repository: Repository, broker: BrokerConfiguration, lock: Lock, events: ServerEvents, options: ResponderOptions) {
    this.#repository = repository;
    this.#lock = lock;
    this.#events = events;
    this.#client = connectBroker(broker.url, (error) => events.onEvent('broker', { error: error.message }), {
      ...brokerOptions(broker),
      clientId: `tremolo-server-${randomUUID().slice(0, 8)}`,
      resubscribe: false,
      queueQoSZero: false,
    });
    // One for each message in flight.
    this.#client.setMaxListeners(0);
    this.#responder = new Responder(
      {
        read: async (site, object, from, length) => (this.#mayHave(site, object) ? repository.readPart(object, from, length) : undefined),
        expected: (site, object) => this.#expected(site, object),
        send: (topic, payload, qos) => this.#send(topic, Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength), qos),
        nowMs: () => performance.now(),
        onUnreadable: (object, error) => events.onEvent('trouble', { object, error: error.message }),
      },
      options,
    );
    this.#client.on('connect', () => {
      this.#listening = false;
      this.#sites = [];
      this.#told.clear();
      this.#schedule(0);
    });
    this.#client.on('message', (topic, payload) => this.#onMessage(topic, payload));
    lock.lost.addEventListener('abort', () => {
      this.#fail(new Error('this process stood still for so long that another serves the repository now'));
      void this.close().catch((error: Error) => this.#fail(error));
    });
    this.#schedule(0);
  }

  get counters(): Readonly<ResponderCounters> {
    return this.#responder.counters;
  }

  get connected(): boolean {
    return this.#client.connected;
  }

  /** Aborts where another process serves the repository by now; this one then does no more. */
  get lost(): AbortSignal {
    return this.#lock.lost;
  }

  /** @throws Refusal fleet/served where another process serves the repository by now */
  checkServing(): void {
    if (this.lost.aborted)
      throw new Refusal(
        'fleet/served',
        `another process has served ${this.#repository.folder} since this one stood still; start one of them again`,
      );
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    // A broker that is gone must not hold up the end: what is not answered now is asked again of the next server.
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise((resolve) => {
      timer = setTimeout(resolve, GOODBYE_MS);
    });
    await Promise.race([Promise.all([this.#working, this.#responder.close()]), limit]);
    clearTimeout(timer);
    await this.#client.endAsync(!this.#client.connected);
    await this.#lock.release();
  }

  /** What a connection that ends has not taken never calls back. */
  async #send(topic: string, payload: Buffer, qos: 0 | 1): Promise<void> {
    let onClose = () => {};
    const closed = new Promise<void>((resolve) => {
      onClose = resolve;
      this.#client.once('close', onClose);
    });
    try {
      await Promise.race([this.#client.publishAsync(topic, payload, { qos }), closed]);
    } finally {
      this.#client.off('close', onClose);
    }
  }

  #onMessage(topic: string, payload: Uint8Array): void {
    if (topic.endsWith('/update/request')) {
      const site = topic.split('/')[2];
      void this.#responder.onRequest(site, gatewayOfTopic(topic), payload).catch((error: Error) => this.#fail(error));
    } else if (this.watch.onMessage(topic, payload)) this.#schedule(GATHER_MS);
  }

  /** A site's gateways may have what is signed for them, and nothing of another site's. */
  #mayHave(site: string, object: string): boolean {
    if (!this.#sites.includes(site)) return false;
    const role = /^(?:\d+\.)?(.+)\.json$/.exec(object)?.[1];
    if (role === undefined) return this.#allowed.get(site)?.has(object) === true;
    return role === siteRole(site) || ['root', 'targets', 'snapshot', 'timestamp'].includes(role);
  }

  /**
   * How many gateways are likely to ask when one does: for an object those that it is for, for metadata all that are there, since a timestamp wakes them
   * all. Whom rollouts wait for counts before a word of him has come; where they wait for nobody, nobody is in a hurry.
   */
  #expected(site: string, object: string): number {
    const isMetadata = object.endsWith('.json');
    const awaited = this.#awaited.get(isMetadata ? site : `${object}/${site}`);
    if (!awaited) return Number.POSITIVE_INFINITY;
    const there = new Set([...awaited].filter((gateway) => !this.watch.isOffline(gateway)));
    if (isMetadata) for (const gateway of this.watch.present(site)) there.add(gateway);
    return there.size;
  }

  /** One pass after the other, the next at the latest after a tick. */
  #schedule(afterMs: number): void {
    if (this.#closed) return;
    if (this.#working) {
      this.#again = true;
      return;
    }
    const dueMs = performance.now() + afterMs;
    // Words that come without end must not put it off without end.
    if (this.#timer && this.#dueMs <= dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#again = false;
      this.#working = this.#pass()
        .catch((error: Error) => this.#fail(error))
        .finally(() => {
          this.#working = undefined;
          this.#schedule(this.#again ? GATHER_MS : TICK_MS);
        });
    }, afterMs);
  }

  #fail(error: Error): void {
    this.#events.onEvent('trouble', { error: error.message });
  }

  async #pass(): Promise<void> {
    if (performance.now() - this.#renewedMs > RENEW_MS) await this.#renew();
    if (!this.#client.connected) return;
    const sites = await this.#repository.sites();
    const rollouts = await readRollouts(this.#repository);
    this.#allow(sites, rollouts);
    const fresh = sites.filter((site) => !this.#sites.includes(site));
    for (const site of fresh) {
      const { allStatuses, allUpdateStates, allUpdateRequests } = siteTopics(site);
      await this.#client.subscribeAsync([allStatuses, allUpdateStates], { qos: 1 });
      await this.#client.subscribeAsync(allUpdateRequests, { qos: 0 });
    }
    this.#sites = sites;
    this.#await(await this.#lead(rollouts));
    this.#nudge(rollouts);
    await this.#tell();
  }

  async #renew(): Promise<void> {
    this.#renewedMs = performance.now();
    const now = new Date();
    const { renewed, warnings } = await this.#repository.transaction(async () => {
      // Whoever was killed between a rollout's file and its signature.
      await signSites(this.#repository, await this.#repository.sites(), now);
      return this.#repository.renew(now);
    });
    if (renewed.length > 0) this.#events.onEvent('signed', { roles: renewed });
    for (const warning of warnings) this.#events.onEvent('expiry', { warning });
  }

  #allow(sites: readonly string[], rollouts: readonly Rollout[]): void {
    const allowed = new Map(sites.map((site) => [site, new Set<string>()]));
    for (const rollout of rollouts.filter(({ archived }) => !archived))
      for (const site of sitesOfRollout(rollout)) for (const object of Object.keys(rollout.objects)) allowed.get(site)?.add(object);
    this.#allowed = allowed;
  }

  #await(rollouts: readonly Rollout[]): void {
    this.#awaited = new Map();
    for (const rollout of rollouts.filter(({ status }) => status === 'running'))
      for (const gateway of releasedTo(rollout)) {
        if (rollout.devices[gateway] && rollout.devices[gateway].outcome !== 'updating') continue;
        const site = gateway.split('/')[0];
        for (const name of [site, ...Object.keys(rollout.objects).map((object) => `${object}/${site}`)])
          this.#awaited.set(name, (this.#awaited.get(name) ?? new Set()).add(gateway));
      }
  }

  /** Applies what gateways said and the rules to every rollout that is not yet history. @returns all rollouts as they are now */
  async #lead(rollouts: readonly Rollout[]): Promise<Rollout[]> {
    const led = new Map(rollouts.map((rollout) => [rollout.deployment, rollout]));
    const wasListening = this.#listening;
    this.#listening = true;
    for (const before of rollouts.filter((rollout) => isAlive(rollout, rollouts))) {
      const change = (rollout: Rollout) => {
        const nowMs = Date.now();
        let next = wasListening || rollout.endedMs !== undefined ? rollout : listenAgain(rollout, nowMs);
        // A withdrawn rollout watches how all leave it.
        const names = isWithdrawn(next) ? reachedBy(next) : judged(next, rollouts);
        for (const name of names) next = observe(next, name, this.watch.sighting(name), nowMs);
        return advance(next, nowMs);
      };
      if (change(before) === before) continue;
      const { rollout, signed } = await changeRollout(this.#repository, before.deployment, change, new Date());
      led.set(rollout.deployment, rollout);
      if (rollout.status !== before.status)
        this.#events.onEvent('rollout', { deployment: rollout.deployment, status: rollout.status, reason: rollout.reason });
      if (signed) this.#events.onEvent('signed', { deployment: rollout.deployment, gateways: releasedTo(rollout).length });
    }
    return [...led.values()];
  }

  /** Lets sites hear the timestamp again where a gateway waits for one: what stopped it may have passed. */
  #nudge(rollouts: readonly Rollout[]): void {
    if (performance.now() - this.#nudgedMs < NUDGE_MS) return;
    const waiting = rollouts.flatMap((rollout) => waitingForTimestamp(rollout, (gateway) => this.watch.sighting(gateway).state));
    if (waiting.length > 0) this.#nudgedMs = performance.now();
    for (const gateway of waiting) this.#told.delete(gateway.split('/')[0]);
  }

  /** Publishes a timestamp that a site was not told yet. */
  async #tell(): Promise<void> {
    const bytes = Buffer.from(await this.#repository.timestamp());
    const text = bytes.toString();
    for (const site of this.#sites) {
      if (this.#told.get(site) === text) continue;
      await this.#client.publishAsync(siteTopics(site).timestamp, bytes, { qos: 1, retain: true });
      this.#told.set(site, text);
    }
  }
}

/**
 * Gateways of a rollout whose words matter to it: all, but those that a newer push has reached. They do not come back to it before they have left that
 * one, or a push that went wrong would take down the good one before it.
 */
function judged(rollout: Rollout, rollouts: readonly Rollout[]): string[] {
  const { target } = rollout;
  const newer = rollouts.filter(
    (other) =>
      other.number > rollout.number &&
      (other.target.kind === 'bundle' || (target.kind === 'adapter' && other.target.stream === target.stream)),
  );
  const isReplaced = (gateway: string) =>
    newer.some((other) =>
      isWithdrawn(other) || isRecalled(other, gateway) ? other.devices[gateway]?.runs : releasedTo(other).includes(gateway),
    );
  return reachedBy(rollout).filter((gateway) => !isReplaced(gateway));
}

/** Whether anything can still happen to a rollout. */
function isAlive(rollout: Rollout, rollouts: readonly Rollout[]): boolean {
  if (isWithdrawn(rollout)) return !hasGoneBack(rollout);
  return rollout.status !== 'finished' || judged(rollout, rollouts).length > 0;
}
