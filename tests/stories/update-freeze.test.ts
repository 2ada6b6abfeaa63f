import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { siteTopics } from '../../runtime/contracts/topics.ts';
import { type UpdateState, updateStateSchema } from '../../runtime/contracts/update.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { liveGateway, observe, sendNoise, TOPICS } from '../support/live-gateway.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { renamed, UpdateSite } from '../support/update-site.ts';

const patient = { timeout: 40_000, interval: 20 };

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

describe('a repository that somebody keeps stale', () => {
  it('is found out when its timestamp expires: the gateway says freeze, goes on deciding, over a restart too, and takes the next fresh word', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const site = new UpdateSite();
    open.push(await site.serve(broker.url));
    const home = await mkdtemp(join(tmpdir(), 'tremolo-freeze-'));
    await writeFile(join(home, 'root.json'), site.objects.get('1.root.json')!);
    const factory = await makeTinyBundle();
    const [second, third] = [await renamed(factory.bundle, 'second'), await renamed(factory.bundle, 'third')];
    const configuration = { bundle: factory.folder, broker: { url: broker.url }, update: { root: 'root.json' } };
    let gateway = await liveGateway(configuration, home);
    open.push(() => gateway.stop());
    const { client, messages } = await observe(broker.url);
    open.push(() => client.endAsync(true));
    await client.subscribeAsync(TOPICS.updateState, { qos: 1 });
    const state = (): UpdateState | undefined => {
      const last = messages.findLast(({ topic }) => topic === TOPICS.updateState);
      return last && updateStateSchema.parse(last.value);
    };
    let at = 0;
    const timer = setInterval(() => {
      void sendNoise(client, 'a', at, 64).catch(() => {});
      at += 64;
    }, 10);
    open.push(async () => clearInterval(timer));
    /** The next windows are decided by this bundle. */
    const decides = async (digest: string) => {
      const from = messages.length;
      const fresh = () => messages.slice(from).filter(({ topic }) => topic === TOPICS.diagnosis('a'));
      await vi.waitFor(() => expect(fresh().length).toBeGreaterThan(2), patient);
      expect(new Set(fresh().map(({ value }) => value.bundle))).toEqual(new Set([digest.slice(0, 12)]));
    };

    const first = await site.pushBundle(second.folder, second.bundle);
    site.publish();
    await vi.waitFor(() => expect(state()).toMatchObject({ phase: 'confirmed', deployment: first }), patient);
    await decides(second.bundle.digest);

    // The server's last word before it was cut off from the site: good for two seconds more, and all that the broker still tells.
    const expiresMs = 1000 * Math.ceil(Date.now() / 1000) + 2000;
    site.repository.expires.timestamp = new Date(expiresMs).toISOString().replace('.000Z', 'Z');
    site.publish();
    const stale = Buffer.from(site.repository.timestamp);
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(expiresMs), patient);
    const replay = () => client.publishAsync(siteTopics('plant').timestamp, stale, { qos: 1, retain: true });
    await replay();
    const freeze = { phase: 'refused', error: expect.stringMatching(/^update\/freeze: timestamp\.json: freeze attack/) };
    await vi.waitFor(() => expect(state()).toMatchObject(freeze), patient);
    expect(state()).toMatchObject({ failed: [], running: { bundle: second.bundle.digest } });
    await decides(second.bundle.digest);

    await gateway.stop();
    const before = messages.length;
    gateway = await liveGateway(configuration, home);
    await vi.waitFor(() => expect(messages.slice(before).some(({ topic }) => topic === TOPICS.updateState)).toBe(true), patient);
    await vi.waitFor(() => expect(state()).toMatchObject(freeze), patient);
    await decides(second.bundle.digest);

    site.repository.expires.timestamp = '2090-01-01T00:00:00Z';
    const next = await site.pushBundle(third.folder, third.bundle);
    site.publish();
    await vi.waitFor(() => expect(state()).toMatchObject({ phase: 'confirmed', deployment: next }), patient);
    await decides(third.bundle.digest);
  });
});
