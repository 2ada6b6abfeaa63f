import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseCommand } from '../../../trainer/commands/command.ts';
import { fleet } from '../../../trainer/commands/fleet.ts';
import { startEmbeddedBroker } from '../../../trainer/io/broker.ts';
import { Refusal } from '../../../trainer/refusal.ts';
import { liveGateway, observe, sendNoise, TOPICS } from '../../support/live-gateway.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';

let bundle: string;
beforeAll(async () => {
  bundle = (await makeTinyBundle()).folder;
});

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const run = (...argv: string[]) => fleet.run(parseCommand(fleet, argv), new AbortController().signal);

describe('tremolo fleet label', () => {
  it('labels the window that was decided last, or the one that is named, and tells what the gateway answers', async () => {
    const { url, close } = await startEmbeddedBroker();
    open.push(close);
    const gateway = await liveGateway({ bundle, broker: { url }, learn: { settleSeconds: 3600 } });
    open.push(() => gateway.stop());
    const seen = await observe(url);
    open.push(() => seen.client.endAsync(true));
    await vi.waitFor(() => expect(seen.status()?.state).toBe('online'), { timeout: 30_000 });
    await sendNoise(seen.client, 'm', 0, 1024);
    await vi.waitFor(() => expect(seen.of(TOPICS.diagnosis('m')).at(-1)?.endSequence).toBe(1024), { timeout: 30_000 });
    const decided = seen.of(TOPICS.diagnosis('m')).at(-1)!.decision as string;
    const place = ['label', 'plant/hall', 'm'];

    const said = await run(...place, decided, '--broker', url);
    expect(said).toMatchObject({
      label: { verdict: 'confirm', class: decided, tier: 'first', subject: { kind: 'window', epoch: 0, endSequence: 1024 } },
      receipt: { outcome: 'taken', windows: 1 },
    });
    expect((said.label as { annotator: string }).annotator).toMatch(/^a-[0-9a-f]{12}$/);
    const span = await run(...place, 'hum', '--broker', url, '--window', '0:512-1024', '--annotator', 'a7', '--tier', 'expert');
    expect(span).toMatchObject({ label: { verdict: 'correct', annotator: 'a7', tier: 'expert' }, receipt: { windows: 3 } });
    expect(await run(...place, 'hum', '--broker', url, '--reject')).toMatchObject({ receipt: { outcome: 'noted' } });
    expect(await run(...place, '--broker', url, '--unsure')).toMatchObject({ label: { verdict: 'unsure' } });
    await expect(run(...place, 'hum', '--broker', url, '--window', '9:512')).rejects.toThrow(/no longer has this window/);
  });

  it.each([
    [['label', 'plant', 'm', 'hum'], /SITE\/GATEWAY/],
    [['label', 'plant/hall', 'm'], /name a class/],
    [['label', 'plant/hall', 'm', 'hum', '--unsure'], /names no class/],
    [['label', 'plant/hall', 'm', 'hum', '--window', '7'], /EPOCH:END/],
    [['label', 'plant/hall', 'm', 'hum', '--window', '0:7', '--signal', 's'], /not both/],
  ])('refuses %j', async (argv, reason) => {
    const refused = run(...argv);
    await expect(refused).rejects.toThrow(Refusal);
    await expect(refused).rejects.toThrow(reason);
  });
});
