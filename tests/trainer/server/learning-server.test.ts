import { existsSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { writeWhole } from '../../../runtime/io/whole-file.ts';
import { createRepository } from '../../../trainer/fleet/authority.ts';
import { GatewayWatch } from '../../../trainer/fleet/gateway-watch.ts';
import { readServerConfiguration } from '../../../trainer/server/configuration.ts';
import { LearningServer } from '../../../trainer/server/learning-server.ts';
import { FolderModels } from '../../../trainer/server/model-store.ts';
import { type Books, openBooks } from '../../../trainer/server/open-books.ts';

let home: string;
let books: Books;
let server: LearningServer;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'tremolo-learning-'));
  const fleet = join(home, 'fleet');
  const repository = await createRepository(fleet, { folder: join(fleet, 'keys'), keys: 1, threshold: 1 }, ['plant', 'north'], new Date());
  await writeWhole(join(home, 'server.yaml'), Buffer.from(stringify({ repository: 'fleet', broker: { url: 'mqtt://127.0.0.1' } })));
  const configuration = await readServerConfiguration(join(home, 'server.yaml'));
  mkdirSync(join(home, 'state'));
  books = await openBooks(configuration, undefined, (error) => expect.fail(error.message));
  const watch = new GatewayWatch();
  watch.onMessage(gatewayTopics('plant', 'hall').status, Buffer.from(JSON.stringify({ state: 'online', version: '1' })));
  server = new LearningServer(configuration, books, new FolderModels(configuration.artifacts), repository, watch, () => {});
});
afterEach(async () => {
  await books.close();
  await rm(home, { recursive: true, force: true });
});

const made = { outcome: 'accepted', parent: 'base', quarantined: [], windows: [], labels: [], pseudonyms: ['ann-1'] };

async function done(id: string, result: object): Promise<void> {
  await books.jobs.add({ id, kind: 'retrain', site: 'plant', input: {} });
  await (await books.jobs.take('w'))!.finish(result);
}

const effects = async () => Object.fromEntries((await books.jobs.list()).map(({ id, effect }) => [id, effect]));

it('a job whose model is nowhere keeps no other from being settled', async () => {
  await done('lost', { ...made, digest: 'a'.repeat(64) });
  await done('refused', { ...made, outcome: 'refused', reason: 'it forgets' });
  await expect(server.pass()).rejects.toThrow(/^lost: there is no bundle aaaaaaaaaaaa in [^;]*; share that folder or store$/);
  expect(await effects()).toEqual({ lost: undefined, refused: 'refused: it forgets' });
});

it('a model that holds what was erased while it was made goes, and is offered to nobody', async () => {
  const model = join(home, 'state/models', 'b'.repeat(64));
  mkdirSync(model, { recursive: true });
  await done('late', { ...made, digest: 'b'.repeat(64) });
  await books.store.erase('ann-1');
  await server.pass();
  expect(await effects()).toEqual({ late: 'refused: it holds what was erased' });
  expect([existsSync(model), (await books.store.models('plant')).map(({ state }) => state)]).toEqual([false, ['tainted']]);
});
