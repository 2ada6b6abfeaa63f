import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Command, parseCommand } from '../../../trainer/commands/command.ts';
import { fleet } from '../../../trainer/commands/fleet.ts';
import { keys } from '../../../trainer/commands/keys.ts';
import { push } from '../../../trainer/commands/push.ts';
import { serve } from '../../../trainer/commands/serve.ts';
import { createRepository } from '../../../trainer/fleet/authority.ts';
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../trainer/io/broker.ts';
import { makeTinyBundle } from '../../support/tiny-bundle.ts';

const COMMANDS: Readonly<Record<string, Command>> = { fleet, keys, push, serve };

let folder: string;
let bundle: string;
let broker: EmbeddedBroker;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-commands-'));
  bundle = (await makeTinyBundle()).folder;
  await writeFile(join(folder, 'recipe.yaml'), 'a: 1\n');
  broker = await startEmbeddedBroker();
  await createRepository(join(folder, 'fleet'), { folder: join(folder, 'root'), keys: 1, threshold: 1 }, ['plant', 'east'], new Date());
  await rm(join(folder, 'fleet', 'keys', 'site-east.pem'));
});
afterAll(async () => {
  await broker.close();
  await rm(folder, { recursive: true, force: true });
});

describe('bad input to push, keys, fleet and serve is refused in one line', () => {
  it.each([
    [['push'], /usage\/arguments/],
    [['push', 'BUNDLE', '--to', 'hall'], /usage\/selector/],
    [['push', 'BUNDLE', '--to', 'plant/a,colour=red'], /usage\/selector: .*version/],
    [['push', 'BUNDLE', '--to', 'plant/z*'], /usage\/selector: .*the broker knows/],
    [['push', 'BUNDLE', '--to', 'plant/a', '--waves', '0'], /usage\/waves/],
    [['push', 'BUNDLE', '--to', 'plant/a', '--silent-after', '30s'], /usage\/arguments: --silent-after/],
    [['push', 'BUNDLE', '--to', 'plant/a', '--stream', 's'], /usage\/arguments/],
    [['push', 'ADAPTER', '--to', 'plant/a', '--stream', 'a/b'], /usage\/name: --stream "a\/b"/],
    [['push', 'BUNDLE', '--to', 'east/a'], /fleet\/key: .*site-east\.pem/],
    [['push', 'BUNDLE', '--to', 'north/a'], /fleet\/site: .*tremolo keys site north/],
    [['push', '/nowhere', '--to', 'plant/a'], /push\/cargo/],
    [
      ['push', 'RECIPE', '--to', 'plant/a'],
      /push\/cargo: .*recipe\.yaml is no adapter: .*give the safetensors file .* or the folder of a bundle/,
    ],
    [['push', 'RECIPE', '--to', 'plant/a', '--stream', 's'], /push\/cargo: .*recipe\.yaml is no adapter/],
    [['push', 'ADAPTER', '--to', 'plant/a'], /usage\/arguments: .*--stream/],
    [['push', '--resume', 'x'], /fleet\/rollout/],
    [['push', '--resume', '../x'], /fleet\/rollout/],
    [['fleet'], /usage\/arguments/],
    [['fleet', 'abort', 'x'], /fleet\/rollout/],
    [['fleet', 'pause'], /fleet\/rollout/],
    [['fleet', 'rollback'], /fleet\/rollout: nothing to take back/],
    [['fleet', 'rollback', 'plant/a'], /fleet\/rollout: nothing to take back: plant\/a runs nothing that was pushed/],
    [['fleet', 'rollback', 'plant/z*'], /usage\/selector: no gateway is meant/],
    [['keys'], /usage\/arguments/],
    [['keys', 'rotate', 'everything'], /usage\/choice/],
    [['keys', 'site', 'a/b'], /usage\/name/],
    [['keys', 'init', '--out', 'BUNDLE'], /keys\/occupied: .*holds/],
    [['serve', '--repository', '/nowhere'], /fleet\/repository/],
    [['serve', '--broker', 'localhost'], /usage\/broker/],
  ])('tremolo %s', async (words, message) => {
    const paths: Readonly<Record<string, string>> = {
      BUNDLE: bundle,
      ADAPTER: join(bundle, 'adapter.safetensors'),
      RECIPE: join(folder, 'recipe.yaml'),
    };
    const [verb, ...args] = words.map((word) => paths[word] ?? word);
    const common = [
      ...(args.includes('--repository') ? [] : ['--repository', join(folder, 'fleet')]),
      ...(args.includes('--broker') || verb === 'keys' ? [] : ['--broker', broker.url]),
    ];
    const run = async () => COMMANDS[verb].run(parseCommand(COMMANDS[verb], [...args, ...common]), new AbortController().signal);
    const error: Error & { code?: string } = await run().then(
      () => new Error('was taken'),
      (refusal) => refusal,
    );
    expect(error.name).toBe('Refusal');
    expect(`${error.code}: ${error.message}`).toMatch(message);
    expect(error.message).not.toContain('\n');
  });
});
