import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Bundle, readManifest } from '../../models/bundle/bundle.ts';
import { UPDATE_PHASES, type UpdatePhase, type UpdateState } from '../../runtime/contracts/update.ts';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { observe, PROGRAMS, sendNoise, TOPICS, writeYaml } from '../support/live-gateway.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { EASY, renamed, UpdateSite } from '../support/update-site.ts';

/** Points at which the gateway is killed; the soak has 500. */
const KILLS = Number(process.env.TREMOLO_KILLS ?? (process.env.TREMOLO_SOAK ? 500 : 4));
const SECONDS_A_KILL = 15;

const patient = { timeout: 60_000, interval: 20 };

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

interface Made {
  readonly folder: string;
  readonly bundle: Bundle;
}

/** The gateway as a process of its own, which can be killed. */
function startProcess(configuration: string): { readonly child: ChildProcess; readonly gone: Promise<unknown>; stderr(): string } {
  let stderr = '';
  const child = spawn(process.execPath, [new URL('gateway.js', PROGRAMS).pathname, configuration], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr!.on('data', (data: Buffer) => {
    stderr = (stderr + data).slice(-4000);
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  return { child, gone, stderr: () => stderr };
}

describe('kill -9 at any moment of an update', () => {
  it(
    `${KILLS} times: no window is decided by what was not proved, no start is without a model, and the update comes to its end`,
    { timeout: 1000 * SECONDS_A_KILL * (KILLS + 10) },
    async () => {
      const factory = await makeTinyBundle();
      const good: Made[] = [await makeTinyBundle(7), await makeTinyBundle(8), await makeTinyBundle(9)];
      const worse = await renamed((await makeTinyBundle(10)).bundle, 'worse', ['other', 'words', 'alone']);
      const broker = await startEmbeddedBroker();
      open.push(() => broker.close());
      const site = new UpdateSite();
      open.push(await site.serve(broker.url));
      const home = await mkdtemp(join(tmpdir(), 'tremolo-kill-'));
      await writeFile(join(home, 'root.json'), site.objects.get('1.root.json')!);
      const configuration = await writeYaml(
        { site: 'plant', gateway: 'hall', bundle: factory.folder, broker: { url: broker.url }, update: { root: 'root.json' } },
        home,
      );
      const { client, messages } = await observe(broker.url);
      open.push(() => client.endAsync(true));
      await client.subscribeAsync(TOPICS.updateState, { qos: 1 });
      const mayDecide = new Set([factory, ...good].map(({ bundle }) => bundle.digest.slice(0, 12)));
      let state: UpdateState | undefined;
      let [decided, started] = [0, 0];
      const wrong: unknown[] = [];
      let onState = (_phase: UpdatePhase) => {};
      client.on('message', (topic, payload) => {
        messages.length = 0;
        const value = JSON.parse(payload.toString());
        if (topic === TOPICS.updateState) {
          state = value;
          onState(value.phase);
        } else if (topic.includes('/diagnosis/')) {
          decided++;
          if (!mayDecide.has(value.bundle)) wrong.push(value);
        }
      });
      let at = 0;
      const timer = setInterval(() => {
        at += 64;
        for (const stream of ['a', 'b']) void sendNoise(client, stream, at, 64);
      }, 10);
      open.push(async () => clearInterval(timer));

      let pushes = 0;
      const push = async () => {
        // Every third one is worse on live windows and must be refused by its shadow.
        const isWorse = pushes++ % 3 === 1;
        const { folder, bundle } = isWorse ? worse : good[pushes % good.length];
        const thresholds = isWorse ? { ...EASY, shadowWindows: 20, agreement: 1 } : { ...EASY, shadowWindows: 5 };
        const deployment = await site.pushBundle(folder, bundle, { thresholds });
        site.publish();
        return deployment;
      };
      const isOver = (deployment: string) =>
        state?.confirmed.includes(deployment) || state?.failed.some((one) => one.deployment === deployment) || false;

      let latest = await push();
      const phases: Record<string, number> = {};
      for (let kill = 0; kill < KILLS; kill++) {
        const { child, gone, stderr } = startProcess(configuration);
        const wanted = UPDATE_PHASES[kill % UPDATE_PHASES.length];
        const seen = new Promise<void>((resolve) => {
          // Half of the kills come some time after a phase began, half whenever they come.
          const limit = setTimeout(resolve, kill % 2 === 0 ? 6000 : 300 + 3000 * Math.random());
          onState = (phase) => {
            if (phase !== wanted || kill % 2 !== 0) return;
            clearTimeout(limit);
            setTimeout(resolve, 150 * Math.random());
          };
        });
        await Promise.race([seen, gone]);
        expect(child.exitCode, stderr()).toBeNull();
        const phase = state?.phase ?? 'none';
        phases[phase] = (phases[phase] ?? 0) + 1;
        child.kill('SIGKILL');
        await gone;
        started++;
        if (isOver(latest)) latest = await push();
      }
      onState = () => {};
      const last = startProcess(configuration);
      open.push(async () => {
        last.child.kill('SIGKILL');
        await last.gone;
      });
      await vi.waitFor(() => expect(isOver(latest), `${latest} ${JSON.stringify(state)}`).toBe(true), patient);
      const before = decided;
      let deployment = await push();
      if (pushes % 3 === 2) {
        await vi.waitFor(() => expect(state?.failed.map((one) => one.deployment)).toContain(deployment), patient);
        deployment = await push();
      }
      await vi.waitFor(() => expect(state?.confirmed, JSON.stringify(state)).toContain(deployment), patient);
      await vi.waitFor(() => expect(decided).toBeGreaterThan(before), patient);
      expect(wrong).toEqual([]);
      expect((await readManifest(good[pushes % good.length].folder)).digest).toBe(state!.running.bundle);
      process.stderr.write(`${started} kills, in the phases ${JSON.stringify(phases)}; ${pushes} pushes, ${decided} windows decided\n`);
    },
  );
});
