import type { MqttClient } from 'mqtt';
import * as z from 'zod';
import { sha256 } from '../../models/bundle/bundle.ts';
import { decodeChunk, sentChunks } from '../../runtime/contracts/chunk.ts';
import { gatewayTopics, siteTopics } from '../../runtime/contracts/topics.ts';
import { LARGEST_WINDOW, type UpdatePhase, type UpdateState, updateRefusalSchema } from '../../runtime/contracts/update.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { type TrustedTarget, UpdateTrust } from '../../runtime/update/trust/refresh.ts';
import { TrustRefusal } from '../../runtime/update/trust/refusal.ts';

/** What a gateway does with a target once it has all of it. */
export type Behaviour = 'confirms' | 'refuses' | 'ignores';

const FACTORY = sha256(new TextEncoder().encode('factory'));
const RETRY_MS = 1000;

/**
 * The least that a gateway does for updates, with real topics, chunks and verified metadata: fetches what it shall run, and says that it runs it, or
 * not. It decides no windows.
 */
export class SimulatedGateway {
  readonly name: string;
  behaviour: Behaviour;
  /** Deployments that it ran, in order; `factory` for the bundle it was installed with. */
  readonly ran: string[] = [];
  readonly #site: string;
  readonly #client: MqttClient;
  readonly #topics: ReturnType<typeof gatewayTopics>;
  readonly #trust: UpdateTrust;
  readonly #waiting = new Map<string, (index: number | undefined, payload: Uint8Array) => void>();
  readonly #confirmed: string[] = [];
  readonly #failed: { deployment: string; error: string }[] = [];
  #running: UpdateState['running'] = { bundle: FACTORY, adapters: {} };
  #said: [UpdatePhase, string | undefined] = ['idle', undefined];
  #looking = false;
  #timestamp: Uint8Array | undefined;
  #closed = false;

  /** @param root bytes of 1.root.json */
  constructor(url: string, site: string, gateway: string, root: Uint8Array, behaviour: Behaviour = 'confirms') {
    this.name = gateway;
    this.behaviour = behaviour;
    this.#site = site;
    this.#topics = gatewayTopics(site, gateway);
    this.#trust = new UpdateTrust(site, { 'root.json': root, referenceTimeMs: 0 }, 0);
    this.#client = connectBroker(url, () => {});
    this.#client.on('message', (topic, payload) => this.#onMessage(topic, payload));
  }

  async start(): Promise<void> {
    const hello = async () => {
      await this.#client.subscribeAsync(this.#topics.updateRefusal, { qos: 1 });
      const status = { state: 'online', gateway: this.name, version: '0.1.0', bundle: { name: 'factory', digest: FACTORY } };
      await this.#client.publishAsync(this.#topics.status, JSON.stringify(status), { qos: 1, retain: true });
      await this.#say(...this.#said);
      await this.#client.subscribeAsync(siteTopics(this.#site).timestamp, { qos: 1 });
    };
    // A broker that comes back may have forgotten all that it had retained.
    this.#client.on('connect', () => void hello().catch(() => {}));
    if (this.#client.connected) await hello();
    else await new Promise((resolve) => this.#client.once('connect', resolve)).then(hello);
  }

  async stop(): Promise<void> {
    this.#closed = true;
    await this.#client.endAsync(true);
  }

  /** Loses what it runs, as after three crashes. */
  async fallBack(deployment: string): Promise<void> {
    this.#failed.push({ deployment, error: 'update/crash: 3 starts ended badly' });
    this.#running = { bundle: FACTORY, adapters: {} };
    this.ran.push('factory');
    await this.#say('rolledBack', deployment);
  }

  #onMessage(topic: string, payload: Buffer): void {
    if (topic === siteTopics(this.#site).timestamp) {
      this.#timestamp = payload;
      if (!this.#looking) void this.#look();
    } else if (topic === this.#topics.updateRefusal) {
      const { object } = updateRefusalSchema.parse(JSON.parse(payload.toString()));
      this.#waiting.get(object)?.(undefined, payload);
    } else {
      const [object, index] = topic.split('/').slice(-2);
      this.#waiting.get(object)?.(Number(index), payload);
    }
  }

  async #look(): Promise<void> {
    this.#looking = true;
    while (this.#timestamp && !this.#closed) {
      const timestamp = this.#timestamp;
      this.#timestamp = undefined;
      const targets = await this.#refresh(timestamp);
      if (targets) await this.#become(targets);
    }
    this.#looking = false;
  }

  /** What is wanted of whom; undefined where the server could not show it, as while it is being killed: the next timestamp asks again. */
  async #refresh(timestamp: Uint8Array): Promise<readonly TrustedTarget[] | undefined> {
    try {
      const refresh = this.#trust.refresh(timestamp, Date.now());
      let step = refresh.next();
      while (!step.done) step = refresh.next(await this.#fetch(step.value.object));
      return step.value.targets;
    } catch (error) {
      if (error instanceof TrustRefusal) return undefined;
      throw error;
    }
  }

  async #become(targets: readonly TrustedTarget[]): Promise<void> {
    // Base and platform of all simulated gateways.
    const mine = targets
      .filter(
        ({ target: { gateways, withdrawn, platforms } }) =>
          gateways.includes(this.name) && !withdrawn && (platforms.length === 0 || platforms.includes('linux-x64')),
      )
      .sort((one, other) => other.target.number - one.target.number);
    const bundle = mine.find(({ target }) => target.kind === 'bundle');
    const adapters = new Map<string, TrustedTarget>();
    for (const one of mine)
      if (one.target.kind === 'adapter' && one.target.base === BASE && !adapters.has(one.target.stream))
        adapters.set(one.target.stream, one);
    const known = (target: TrustedTarget | undefined) => this.#failed.some((one) => one.deployment === target?.target.deployment);
    if (!bundle && this.#running.bundle !== FACTORY) {
      this.#run('factory', FACTORY);
      await this.#say('rolledBack');
    }
    for (const stream of Object.keys(this.#running.adapters).filter((one) => !adapters.has(one))) {
      const { [stream]: _, ...others } = this.#running.adapters;
      this.#running = { ...this.#running, adapters: others };
      this.ran.push('factory');
      await this.#say('rolledBack');
    }
    if (bundle && bundle.sha256 !== this.#running.bundle && !known(bundle)) await this.#install(bundle);
    for (const adapter of adapters.values())
      if (adapter.target.kind === 'adapter' && this.#running.adapters[adapter.target.stream] !== adapter.sha256 && !known(adapter))
        await this.#install(adapter);
  }

  async #install({ target, sha256: digest, length }: TrustedTarget): Promise<void> {
    const { deployment } = target;
    if (this.behaviour === 'ignores') return;
    await this.#say('fetch', deployment);
    const bytes = await this.#fetch(digest);
    if (!bytes || sha256(bytes) !== digest || bytes.length !== length) throw new Error(`${deployment} came damaged`);
    if (target.kind === 'bundle') {
      const { parts } = manifestSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
      for (const file of Object.values(parts.core))
        if (sha256((await this.#fetch(file.sha256)) ?? new Uint8Array()) !== file.sha256) throw new Error(`${deployment} came damaged`);
    }
    if (this.behaviour === 'refuses') {
      this.#failed.push({ deployment, error: 'update/agreement: agrees on 0.41 of 40 windows, 0.9 are asked for' });
      await this.#say('refused', deployment);
      return;
    }
    this.#run(deployment, digest, target.kind === 'adapter' ? target.stream : undefined);
    this.#confirmed.push(deployment);
    await this.#say('confirmed', deployment);
  }

  #run(deployment: string, digest: string, stream?: string): void {
    this.ran.push(deployment);
    const { bundle, adapters } = this.#running;
    this.#running = stream ? { bundle, adapters: { ...adapters, [stream]: digest } } : { bundle: digest, adapters };
  }

  async #say(phase: UpdatePhase, deployment?: string): Promise<void> {
    this.#said = [phase, deployment];
    if (this.#closed) return;
    const state: UpdateState = {
      gateway: this.name,
      at: new Date().toISOString(),
      phase,
      deployment,
      confirmed: this.#confirmed,
      failed: this.#failed,
      running: this.#running,
    };
    await this.#client.publishAsync(this.#topics.updateState, JSON.stringify(state), { qos: 1, retain: true });
  }

  /** @returns undefined where the server says that it has none */
  async #fetch(object: string): Promise<Uint8Array | undefined> {
    const chunks = new Map<number, Uint8Array>();
    let total: number | undefined;
    const topic = siteTopics(this.#site).chunks(object);
    await this.#client.subscribeAsync(topic, { qos: 0 });
    try {
      return await new Promise((resolve) => {
        const ask = () => {
          const count = total === undefined ? 1 : sentChunks(total);
          const missing = Array.from({ length: count }, (_, index) => index).filter((index) => !chunks.has(index));
          const ranges = missing.slice(0, LARGEST_WINDOW).map((index) => [index, index + 1]);
          this.#client.publish(this.#topics.updateRequest, JSON.stringify({ object, ranges }));
        };
        let timer = setTimeout(function again() {
          ask();
          timer = setTimeout(again, RETRY_MS);
        }, RETRY_MS);
        this.#waiting.set(object, (index, payload) => {
          if (index === undefined) {
            clearTimeout(timer);
            resolve(undefined);
            return;
          }
          const isFirst = total === undefined;
          const chunk = decodeChunk(payload)!;
          total = chunk.objectBytes;
          chunks.set(index, chunk.bytes.slice());
          const all = sentChunks(total);
          if (chunks.size === all) {
            clearTimeout(timer);
            resolve(Buffer.concat(Array.from({ length: all }, (_, at) => chunks.get(at)!)));
          } else if (isFirst || chunks.size % LARGEST_WINDOW === 0) ask();
        });
        ask();
      });
    } finally {
      this.#waiting.delete(object);
      if (!this.#closed) await this.#client.unsubscribeAsync(topic);
    }
  }
}

/** Base that simulated gateways' adapters must fit. */
export const BASE = sha256(new TextEncoder().encode('base'));

const manifestSchema = z.object({ parts: z.object({ core: z.record(z.string(), z.object({ sha256: z.string() })) }) });
