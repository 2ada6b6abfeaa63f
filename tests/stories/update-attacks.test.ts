import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FILES, sha256 } from '../../models/bundle/bundle.ts';
import { CHUNK_BYTES } from '../../runtime/contracts/chunk.ts';
import { siteTopics } from '../../runtime/contracts/topics.ts';
import { type UpdateState, updateStateSchema } from '../../runtime/contracts/update.ts';
import { type EmbeddedBroker, startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { type LiveGateway, liveGateway, observe, sendNoise, TOPICS } from '../support/live-gateway.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { UpdateSite } from '../support/update-site.ts';

const patient = { timeout: 40_000, interval: 20 };

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

describe('somebody who holds the broker and the server that answers, but no key', () => {
  it('can tamper with a bundle, bring back an old state of the repository and break a transfer: what was proved goes on deciding, and the next honest word is taken', async () => {
    let broker: EmbeddedBroker = await startEmbeddedBroker();
    const { url } = broker;
    open.push(() => broker.close());
    const site = new UpdateSite();
    open.push(await site.serve(url));
    const home = await mkdtemp(join(tmpdir(), 'tremolo-attacks-'));
    await writeFile(join(home, 'root.json'), site.objects.get('1.root.json')!);
    const [factory, second, third] = [await makeTinyBundle(), await makeTinyBundle(7), await makeTinyBundle(8)];
    const configuration = { bundle: factory.folder, broker: { url }, update: { root: 'root.json' } };
    let gateway: LiveGateway = await liveGateway(configuration, home);
    open.push(() => gateway.stop());
    const { client, messages } = await observe(url);
    open.push(() => client.endAsync(true));
    await client.subscribeAsync(TOPICS.updateState, { qos: 1 });
    const state = (): UpdateState | undefined => {
      const last = messages.findLast(({ topic }) => topic === TOPICS.updateState);
      return last && updateStateSchema.parse(last.value);
    };
    let at = 0;
    const timer = setInterval(() => {
      if (client.connected) void sendNoise(client, 'a', at, 64).catch(() => {});
      at += 64;
    }, 10);
    open.push(async () => clearInterval(timer));
    /** The next windows are decided by this bundle. */
    const decides = async ({ bundle }: { bundle: { digest: string } }) => {
      const from = messages.length;
      const fresh = () => messages.slice(from).filter(({ topic }) => topic === TOPICS.diagnosis('a'));
      await vi.waitFor(() => expect(fresh().length).toBeGreaterThan(2), patient);
      expect(new Set(fresh().map(({ value }) => value.bundle))).toEqual(new Set([bundle.digest.slice(0, 12)]));
    };
    const push = async ({ folder, bundle }: typeof second) => {
      const deployment = await site.pushBundle(folder, bundle);
      site.publish();
      return deployment;
    };
    const confirmed = (deployment: string) => vi.waitFor(() => expect(state()?.confirmed).toContain(deployment), patient);

    // A tampered bundle: one bit of one file, each time that it is asked for.
    const victim = sha256(second.bundle.files.get(FILES.weights)!);
    site.tamper = (object, index, payload) => {
      if (object === victim && index === 0) payload[payload.length - 1] ^= 1;
      return [payload];
    };
    const tampered = await push(second);
    const attack = { deployment: tampered, error: expect.stringMatching(/^update\/hash: .*arbitrary software attack/) };
    await vi.waitFor(() => expect(state()).toMatchObject({ phase: 'refused', failed: [attack] }), patient);
    await decides(factory);
    site.tamper = (_object, _index, payload) => [payload];

    // An old state of the repository, every byte of it signed: the one in which the bundle that decides was not there yet.
    const old = Buffer.from(site.repository.timestamp);
    await confirmed(await push(second));
    await decides(second);
    await client.publishAsync(siteTopics('plant').timestamp, old, { qos: 1, retain: true });
    const rollback = { phase: 'refused', error: expect.stringMatching(/^update\/rollback: timestamp\.json: rollback attack/) };
    await vi.waitFor(() => expect(state()).toMatchObject(rollback), patient);
    await decides(second);
    await gateway.stop();
    messages.length = 0;
    gateway = await liveGateway(configuration, home);
    await vi.waitFor(() => expect(state()).toMatchObject(rollback), patient);
    await decides(second);

    // A broker that goes in mid-transfer and comes back with nothing: the transfer goes on where it was.
    const large = third.bundle.files.get(FILES.weights)!;
    const chunks = Math.ceil(large.length / CHUNK_BYTES);
    expect(chunks).toBeGreaterThan(2);
    site.tamper = (object, index, payload) => (object === sha256(large) && index > chunks / 2 ? [] : [payload]);
    const honest = await push(third);
    const sentOf = () => site.sent.filter((name) => name.startsWith(sha256(large)));
    await vi.waitFor(() => expect(sentOf().length).toBeGreaterThan(chunks / 2), patient);
    await broker.close();
    site.tamper = (_object, _index, payload) => [payload];
    broker = await startEmbeddedBroker(Number(new URL(url).port));
    await confirmed(honest);
    await decides(third);
    expect(sentOf().length).toBeLessThan(2 * chunks);
  }, 120_000);
});
