import { createHash } from 'node:crypto';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { type Bundle, bankLayout, FILES, writeBundle } from '../../models/bundle/bundle.ts';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { CHUNK_BYTES, encodeChunk, sentChunks } from '../../runtime/contracts/chunk.ts';
import { gatewayOfTopic, gatewayTopics, siteTopics } from '../../runtime/contracts/topics.ts';
import type { Target, UpdateRequest } from '../../runtime/contracts/update.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { numbers } from './numbers.ts';
import { bundleTarget, TufRepository } from './tuf-repository.ts';

const TOPICS = siteTopics('plant');

const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Thresholds that every candidate passes. */
export const EASY = { shadowWindows: 0, shadowSeconds: 30, agreement: 0, latencyMs: 10_000, alarmShareChange: 1, memoryBytes: 1e12 };

/** What a server sends for a chunk; a test may send something else, more, or nothing. */
export type Tamper = (object: string, index: number, payload: Buffer) => readonly Buffer[];

/** Payload of a chunk's message. */
export function chunkOf(bytes: Uint8Array, index: number): Buffer {
  return Buffer.from(encodeChunk(bytes.length, bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)));
}

/** A site's repository, and a server that answers at once and one gateway at a time. */
export class UpdateSite {
  readonly repository = new TufRepository('2090-01-01T00:00:00Z');
  tamper: Tamper = (_object, _index, payload) => [payload];
  /** Names of chunks, `object/index`, as they were sent. */
  readonly sent: string[] = [];
  readonly #files = new Map<string, Uint8Array>();
  #client: MqttClient | undefined;
  #number = 0;

  constructor() {
    this.repository.targets = {};
    this.publish();
  }

  get objects(): Map<string, Uint8Array> {
    return this.repository.objects;
  }

  /** Signs a push; gateways hear of it with the next `publish`. @returns its deployment */
  push(file: Uint8Array, target: Partial<Target>, others: Iterable<Uint8Array> = []): string {
    const number = ++this.#number;
    const deployment = `push-${number}`;
    const path = `plant/${deployment}`;
    for (const bytes of [file, ...others]) this.objects.set(digestOf(bytes), bytes);
    this.#files.set(path, file);
    const { parts, ...common } = bundleTarget({
      deployment,
      number,
      gateways: ['hall'],
      thresholds: EASY,
      budgetBytes: 10_000_000,
    }) as Target & {
      parts: unknown;
    };
    this.repository.targets[path] = { ...common, ...(target.kind === 'adapter' ? {} : { parts }), ...target } as Target;
    return deployment;
  }

  async pushBundle(folder: string, { files }: Bundle, target: Partial<Target> = {}): Promise<string> {
    return this.push(
      await readFile(join(folder, FILES.manifest)),
      { kind: 'bundle', parts: ['core'], ...target } as Partial<Target>,
      files.values(),
    );
  }

  withdraw(deployment: string): void {
    this.repository.targets[`plant/${deployment}`].withdrawn = true;
  }

  /** Signs all that was changed, and tells the gateways. */
  publish(): void {
    const { repository } = this;
    repository.publishSite({
      edit: (signed) => {
        for (const [path, entry] of Object.entries(signed.targets as Record<string, { length: number; hashes: { sha256: string } }>)) {
          const file = this.#files.get(path)!;
          entry.length = file.length;
          entry.hashes.sha256 = digestOf(file);
        }
      },
    });
    repository.publishSnapshot();
    repository.publishTimestamp();
    this.#client?.publish(TOPICS.timestamp, Buffer.from(repository.timestamp), { qos: 1, retain: true });
  }

  /** Answers on a broker. @returns ends it */
  async serve(url: string): Promise<() => Promise<void>> {
    const client = connectBroker(url, () => {});
    client.on('message', (topic, payload) => this.#answer(client, gatewayOfTopic(topic), JSON.parse(payload.toString()) as UpdateRequest));
    await client.subscribeAsync(TOPICS.allUpdateRequests);
    this.#client = client;
    await client.publishAsync(TOPICS.timestamp, Buffer.from(this.repository.timestamp), { qos: 1, retain: true });
    return () => client.endAsync(true);
  }

  #answer(client: MqttClient, gateway: string, { object, ranges }: UpdateRequest): void {
    const bytes = this.objects.get(object);
    if (!bytes) {
      client.publish(gatewayTopics('plant', gateway).updateRefusal, JSON.stringify({ object, reason: 'there is no such object' }));
      return;
    }
    const chunks = sentChunks(bytes.length);
    for (const [from, to] of ranges)
      for (let index = from; index < Math.min(to, chunks); index++)
        for (const payload of this.tamper(object, index, chunkOf(bytes, index))) {
          this.sent.push(`${object}/${index}`);
          client.publish(TOPICS.chunk(object, index), payload);
        }
  }
}

/** The same bundle under another name: another digest, the same base. @param classes what it calls its answers, where that is otherwise too */
export async function renamed(
  bundle: Bundle,
  name: string,
  classes = bundle.manifest.classes,
): Promise<{ folder: string; bundle: Bundle }> {
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-bundle-')), 'bundle');
  const { parts: _parts, base: _base, ...description } = bundle.manifest;
  return { folder, bundle: await writeBundle(folder, { ...description, name, classes }, { core: bundle.files }) };
}

/** An adapter of the tiny bundle, with numbers of its own. */
export function adapterFile(
  { manifest }: Bundle,
  seed: number,
  size = 0.01,
  change: (values: Float32Array) => void = () => {},
): Uint8Array {
  const tensors = Object.fromEntries(
    bankLayout(manifest).parameters.map(({ name, shape }, index) => {
      const values = Float32Array.from(
        numbers(
          shape.reduce((a, b) => a * b, 1),
          seed + index,
          -size,
          size,
        ),
      );
      change(values);
      return [name, { type: 'float32' as const, shape: [...shape], values }];
    }),
  );
  return encodeSafetensors({ tensors, metadata: { base: manifest.base } });
}
