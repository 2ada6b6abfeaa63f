import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Books, openBooks } from '../../../trainer/server/open-books.ts';
import type { Arrival, Model } from '../../../trainer/server/store.ts';
import { type Cluster, POSTGRES, startPostgres } from '../../support/postgres.ts';

const LEASE_MS = 1000;
const origin = { site: 'plant', gateway: 'hall', stream: 'press' };

function signal(id: string, more: Partial<Arrival> = {}, windows = [256]): Arrival {
  return {
    ...origin,
    kind: 'signal',
    id,
    atMs: 1000,
    pseudonym: 'asset-1',
    body: JSON.stringify({ severity: 0.5, benign: false }),
    windows: windows.map((endSequence) => ({ epoch: 1, endSequence, scales: [0.5], codes: 'AAEAAg==' })),
    ...more,
  };
}

function label(id: string, more: Record<string, unknown> = {}, of: Partial<Arrival> = {}): Arrival {
  const said = {
    id,
    verdict: 'correct',
    class: 'knock',
    annotator: 'ann-1',
    tier: 'first',
    subject: { kind: 'signal', signal: 's1' },
    ...more,
  };
  return { ...origin, kind: 'label', id, atMs: 2000, pseudonym: said.annotator, body: JSON.stringify(said), ...of };
}

let cluster: Cluster | undefined;
beforeAll(async () => {
  if (POSTGRES) cluster = await startPostgres();
});
afterAll(() => cluster?.stop());

const KINDS = [
  { name: 'SQLite', skip: false, url: async () => undefined },
  { name: POSTGRES ? 'Postgres with pg-boss' : 'Postgres with pg-boss (no initdb here)', skip: !POSTGRES, url: () => cluster!.database() },
];

for (const { name, skip, url } of KINDS) {
  describe.skipIf(skip)(`books in ${name}`, () => {
    let where: { path: string; url: string | undefined };
    let books: Books;
    const open = () => openBooks({ database: where.path, lease: LEASE_MS }, where.url, (error) => expect.fail(error.message));
    beforeEach(async () => {
      where = { path: join(await mkdtemp(join(tmpdir(), 'tremolo-books-')), 'server.db'), url: await url() };
      books = await open();
    });
    afterEach(() => books.close());

    it('keep what arrives once, however often it comes, and over a restart', async () => {
      expect(await books.store.keep(signal('s1'))).toBe(true);
      expect(await books.store.keep(signal('s1'))).toBe(false);
      // Another gateway's signal of that name is another.
      expect(await books.store.keep(signal('s1', { gateway: 'yard' }))).toBe(true);
      expect(await books.store.keep(label('l1'))).toBe(true);
      await books.close();
      books = await open();
      expect(await books.store.keep(signal('s1'))).toBe(false);
      expect(await books.store.counts()).toEqual({ 'signal.kept': 2, 'label.kept': 1 });
      const [{ number: first }, { number: second }] = await books.store.arrivals('plant', 'signal');
      expect(second).toBeGreaterThan(first);
    });

    it('join labels with the windows that they are about: a signal, a window, a span', async () => {
      await books.store.keep(signal('s1', {}, [256, 512, 768]));
      await books.store.keep(signal('s2', {}, [1024]));
      expect(await books.store.labelledWindows('plant')).toEqual([]);
      await books.store.keep(label('l1', { subject: { kind: 'window', epoch: 1, endSequence: 512 } }));
      expect((await books.store.labelledWindows('plant')).map(({ endSequence }) => endSequence)).toEqual([512]);
      await books.store.keep(label('l2', { class: 'hum', subject: { kind: 'span', epoch: 1, fromSequence: 700, toSequence: 1100 } }));
      await books.store.keep(label('l3', { class: 'rub', subject: { kind: 'signal', signal: 's2' } }));
      const windows = await books.store.labelledWindows('plant');
      expect(windows.map((one) => [one.endSequence, one.class])).toEqual([
        [512, 'knock'],
        [768, 'hum'],
        [1024, 'rub'],
      ]);
      expect(windows[0]).toMatchObject({ asset: 'asset-1', scales: [0.5], codes: 'AAEAAg==', label: { id: 'l1', annotator: 'ann-1' } });
    });

    it('let an expert go before a first label, and a doubt take a label back', async () => {
      await books.store.keep(signal('s1'));
      await books.store.keep(label('l1', { class: 'hum', tier: 'expert' }));
      await books.store.keep(label('l2', { class: 'knock' }));
      expect((await books.store.labelledWindows('plant'))[0].class).toBe('hum');
      await books.store.keep(label('l3', { verdict: 'reject', class: 'hum' }));
      expect(await books.store.labelledWindows('plant')).toHaveLength(1);
      await books.store.keep(label('l4', { verdict: 'reject', class: 'hum', tier: 'expert' }));
      expect(await books.store.labelledWindows('plant')).toEqual([]);
    });

    it('learn nothing from what is quarantined, and say why', async () => {
      await books.store.keep(signal('s1'));
      await books.store.keep(label('l1'));
      await books.store.quarantine('plant', 'hall', 'label', ['l1'], 'costs 12 points');
      expect(await books.store.labelledWindows('plant')).toEqual([]);
      expect(await books.store.quarantined('plant')).toEqual([{ gateway: 'hall', kind: 'label', id: 'l1', reason: 'costs 12 points' }]);
    });

    it('add facts up since the last mark', async () => {
      await books.store.keep(signal('s1'));
      await books.store.keep(signal('s2', { body: JSON.stringify({ severity: 0.9, benign: true }) }));
      await books.store.keep(label('l1'));
      await books.store.keep(label('l2', { verdict: 'unsure', class: undefined }));
      await books.store.keepMetric('oee', 1, 0.9);
      await books.store.keepMetric('oee', 2, 0.8);
      const facts = await books.store.consider('plant', async (found) => found);
      expect(facts).toMatchObject({ labels: 1, severity: 0.5, metrics: { oee: [0.9, 0.8] } });
      await books.store.consider('plant', (found, queries) => books.store.mark(queries, 'plant', found.last));
      expect(await books.store.consider('plant', async (found) => found)).toEqual({
        last: facts.last,
        labels: 0,
        severity: 0,
        metrics: {},
      });
    });

    it('do all of a step or nothing', async () => {
      const broken = books.store.consider('plant', async (_, queries) => {
        await books.jobs.add({ id: 'j1', kind: 'retrain', site: 'plant', input: {} }, queries);
        throw new Error('power cut');
      });
      await expect(broken).rejects.toThrow('power cut');
      expect(await books.jobs.list()).toEqual([]);
      expect(await books.jobs.take('w')).toBeUndefined();
    });

    it('know a gateway by its first key', async () => {
      expect(await books.store.gatewayKey('plant', 'hall', 'a')).toBe('a');
      expect(await books.store.gatewayKey('plant', 'hall', 'b')).toBe('a');
    });

    it('erase a pseudonym: samples, signals, labels, and the models that learned from it or from these', async () => {
      await books.store.keep(signal('s1'));
      await books.store.keep(signal('s2', { pseudonym: 'asset-2' }, [512]));
      await books.store.keep(label('l1'));
      await books.store.keep(label('l2', { subject: { kind: 'signal', signal: 's2' } }));
      const model = (digest: string, parent: string, madeMs: number): Model => ({
        ...{ digest, parent, madeMs, site: 'plant', job: `job-${digest}`, state: 'running', windows: [], labels: [] },
      });
      await books.store.addModel(model('m1', 'base', 1), ['asset-2']);
      await books.store.addModel(model('m2', 'm1', 2), ['asset-1', 'ann-1']);
      await books.store.addModel(model('m3', 'm2', 3), ['asset-2']);
      const { erased, models } = await books.store.erase('asset-1');
      expect(erased).toEqual({ windows: 1, signals: 1 });
      expect(models.map(({ digest }) => digest)).toEqual(['m2', 'm3']);
      expect((await books.store.models('plant')).map(({ state }) => state)).toEqual(['running', 'tainted', 'tainted']);
      expect((await books.store.labelledWindows('plant')).map(({ asset }) => asset)).toEqual(['asset-2']);
      // It is gone, and the same message does not bring it back.
      expect(await books.store.keep(signal('s1'))).toBe(false);
      expect(await books.store.erase('asset-1')).toEqual({ erased: { windows: 0 }, models: [] });
    });

    it('erase an operator: the labels, the models that learned from them or from these, and what jobs tell of them', async () => {
      await books.store.keep(signal('s1'));
      await books.store.keep(label('l1'));
      const model = (digest: string, parent: string, madeMs: number): Model => ({
        ...{ digest, parent, madeMs, site: 'plant', job: `job-${digest}`, state: 'running', windows: [], labels: ['l1'] },
      });
      await books.store.addModel(model('m1', 'base', 1), ['asset-1', 'ann-1']);
      await books.store.addModel(model('m2', 'm1', 2), ['asset-1']);
      await books.jobs.add({ id: 'j1', kind: 'retrain', site: 'plant', input: {} });
      await (await books.jobs.take('w'))!.finish({ pseudonyms: ['asset-1', 'ann-1'] });
      const { erased, models } = await books.store.erase('ann-1');
      expect(erased).toEqual({ windows: 0, labels: 1 });
      expect(models.map(({ digest }) => digest)).toEqual(['m1', 'm2']);
      expect(await books.store.labelledWindows('plant')).toEqual([]);
      expect(JSON.stringify(await books.jobs.list())).not.toContain('ann-1');
      // The machine's samples are not the operator's: another may label them.
      await books.store.keep(label('l2', { annotator: 'ann-2' }));
      expect(await books.store.labelledWindows('plant')).toHaveLength(1);
    });

    it.each(['asset-1', 'ann-1'])(
      'taint a model that was made while %s was erased, before its job was done or after',
      async (pseudonym) => {
        await books.store.keep(signal('s1'));
        await books.store.keep(signal('s2', { pseudonym: 'asset-2' }, [512]));
        await books.store.keep(label('l1'));
        await books.store.keep(label('l2', { annotator: 'ann-2', subject: { kind: 'signal', signal: 's2' } }));
        const learned = { windows: ['hall/press/1/256'], labels: ['l1'], pseudonyms: ['asset-1', 'ann-1'] };
        const settle = async (digest: string, { pseudonyms, ...more }: typeof learned, parent = 'base') =>
          books.store.addModel({ digest, site: 'plant', parent, job: digest, madeMs: 1, state: 'offered', ...more }, pseudonyms);
        for (const id of ['done', 'late']) await books.jobs.add({ id, kind: 'retrain', site: 'plant', input: {} });
        const late = async () => (await books.jobs.take('w'))!;
        await (await late()).finish(learned);
        const running = await late();
        await books.store.erase(pseudonym);
        await running.finish(learned);
        for (const { id, result } of await books.jobs.unsettled()) expect(await settle(id, result as typeof learned)).toBe('tainted');
        expect(JSON.stringify(await books.jobs.list())).not.toContain(pseudonym);
        // Nor is it mended by its rollout, nor may another be made from it.
        await books.store.setModel('late', { state: 'running' });
        const other = { windows: ['hall/press/1/512'], labels: ['l2'], pseudonyms: ['asset-2', 'ann-2'] };
        expect([await settle('child', other, 'late'), await settle('good', other)]).toEqual(['tainted', 'offered']);
        const states = (await books.store.models('plant')).map(({ digest, state }) => `${digest} ${state}`);
        expect(states).toEqual(['child tainted', 'done tainted', 'good offered', 'late tainted']);
      },
    );

    it('erase adapters with a pseudonym: those of its labels, and those of the streams that its signals came of', async () => {
      await books.store.keep(signal('s1'));
      const adapter = (id: string, stream: string, annotator: string): Arrival => {
        const body = JSON.stringify({ statement: { labels: [{ annotator }] }, file: 'AAEC' });
        return { ...origin, stream, kind: 'adapter', id, atMs: 3000, body };
      };
      await books.store.keep(adapter('a1', 'press', 'ann-1'));
      await books.store.keep(adapter('a2', 'pump', 'ann-2'));
      await books.store.keep(adapter('a3', 'fan', 'ann-3'));
      expect((await books.store.erase('asset-1')).erased).toEqual({ windows: 1, signals: 1, adapters: 1 });
      expect((await books.store.erase('ann-2')).erased).toEqual({ windows: 0, adapters: 1 });
      expect((await books.store.arrivals('plant', 'adapter')).map(({ id }) => id)).toEqual(['a3']);
      expect(await books.store.keep(adapter('a2', 'pump', 'ann-2'))).toBe(false);
    });

    describe('jobs', () => {
      const job = (id: string) => ({ id, kind: 'retrain', site: 'plant', input: { through: 7 } });

      it('are done once: the same id is the same job, and one worker gets it', async () => {
        expect(await books.jobs.add(job('a'))).toBe(true);
        expect(await books.jobs.add(job('a'))).toBe(false);
        const leases = await Promise.all(['x', 'y', 'z'].map((worker) => books.jobs.take(worker)));
        const got = leases.filter((lease) => lease !== undefined);
        expect(got).toHaveLength(1);
        expect(got[0].job).toMatchObject({ id: 'a', state: 'running', attempts: 1, input: { through: 7 } });
        expect(await got[0].finish({ digest: 'd' })).toBe(true);
        expect(await got[0].finish({ digest: 'other' })).toBe(false);
        expect(await books.jobs.add(job('a'))).toBe(false);
        expect(await books.jobs.take('x')).toBeUndefined();
        expect((await books.jobs.unsettled()).map(({ result }) => result)).toEqual([{ digest: 'd' }]);
        await books.jobs.settle('a', 'rolled out');
        expect(await books.jobs.unsettled()).toEqual([]);
      });

      it('are taken over when their worker is silent, whose word then counts nothing', async () => {
        await books.jobs.add(job('a'));
        const dead = (await books.jobs.take('dead'))!;
        expect(await books.jobs.take('next')).toBeUndefined();
        let taken = await books.jobs.take('next');
        while (!taken) taken = await new Promise((resolve) => setTimeout(() => resolve(books.jobs.take('next')), 20));
        expect(taken.job).toMatchObject({ id: 'a', worker: 'next', attempts: 2 });
        expect(await dead.heartbeat()).toBe(false);
        expect(await dead.finish({ digest: 'dead' })).toBe(false);
        expect(await taken.finish({ digest: 'next' })).toBe(true);
        expect(await books.jobs.list()).toMatchObject([{ state: 'done', result: { digest: 'next' } }]);
      });

      it('stay with a worker whose heart beats', async () => {
        await books.jobs.add(job('a'));
        const lease = (await books.jobs.take('w'))!;
        for (let beat = 0; beat < 5; beat++) {
          await new Promise((resolve) => setTimeout(resolve, LEASE_MS / 4));
          expect(await lease.heartbeat()).toBe(true);
          expect(await books.jobs.take('other')).toBeUndefined();
        }
      });

      it('lose no attempt to workers that are stopped', async () => {
        await books.jobs.add(job('a'));
        for (let stops = 0; stops < 4; stops++) {
          const lease = (await books.jobs.take('w'))!;
          expect(lease.job).toMatchObject({ id: 'a', attempts: 1 });
          expect(await lease.giveBack()).toBe(true);
          expect(await lease.fail('too late', false)).toBe(false);
        }
        expect(await books.jobs.list()).toMatchObject([{ state: 'waiting', attempts: 0 }]);
      });

      it('are tried again after trouble, and given up after three times', async () => {
        await books.jobs.add(job('a'));
        await books.jobs.add(job('b'));
        for (let tries = 1; tries <= 3; tries++) {
          const lease = (await books.jobs.take('w'))!;
          expect(lease.job).toMatchObject({ id: 'a', attempts: tries });
          expect(await lease.fail('disk full', true)).toBe(true);
          if (tries < 3) expect((await books.jobs.list())[0].state).toBe('waiting');
        }
        const lease = (await books.jobs.take('w'))!;
        expect(lease.job.id).toBe('b');
        await lease.fail('no class has two windows', false);
        expect(await books.jobs.list()).toMatchObject([
          { state: 'failed', reason: 'disk full' },
          { state: 'failed', reason: 'no class has two windows', attempts: 1 },
        ]);
        expect(await books.jobs.take('w')).toBeUndefined();
      });
    });
  });
}
