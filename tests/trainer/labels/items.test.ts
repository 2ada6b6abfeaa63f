import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { labelItems } from '../../../trainer/labels/items.ts';
import { arrivalOf } from '../../../trainer/server/intake.ts';
import { openBooks } from '../../../trainer/server/open-books.ts';
import { tremolo } from '../../support/tremolo-command.ts';

const AT = '2026-01-01T00:00:00.000Z';
const origin = { gateway: 'hall', stream: 'press' };

/** A signal of two windows: one that the model is sure of, one that it is not. */
const signal = {
  ...{ id: 's1', stream: 'press', asset: '00112233445566778899', at: AT, benign: false, severity: 0.5, model: 'm' },
  cause: { statistic: 'shift', kind: 'condition', channel: 'x', bandHz: [10, 20], changeDb: 6 },
  estimatedAccuracy: { before: 0.9, now: 0.6 },
  decided: { before: 'normal', now: 'hum' },
  budget: { runLength: 20_000, windows: 100, signals: 1 },
  evidence: {
    kind: 'raw',
    windows: [
      { epoch: 0, endSequence: 512, scales: [1], codes: 'AAEAAg==', probabilities: [0.98, 0.02] },
      { epoch: 0, endSequence: 768, scales: [1], codes: 'AAEAAg==', probabilities: [0.6, 0.4] },
    ],
  },
};

function label(id: string, annotator: string, subject: object, more: object = {}) {
  const said = { id, stream: 'press', at: AT, annotator, tier: 'first', verdict: 'correct', class: 'hum', subject, ...more };
  return { id, stream: 'press', at: AT, outcome: 'taken', windows: 1, label: said };
}
const at = (endSequence: number) => ({ kind: 'window', epoch: 0, endSequence });
const second = (more: object = {}) => ({ tier: 'crossCheck', ...more });

/** Entries as the books have them. */
const kept = (kind: string, ...said: object[]) =>
  said.map((one) => arrivalOf(`tremolo/v1/plant/hall/${kind}/press`, Buffer.from(JSON.stringify(one)))!);

describe('windows that wait for a word', () => {
  it('are those of signals, without their samples, and those that were labelled', () => {
    const [entry] = kept('drift', signal);
    expect(entry.windows).toHaveLength(2);
    expect(entry.body).not.toContain('AAEAAg==');
    const { items, classes } = labelItems(
      [entry],
      kept('labelled', label('l1', 'a', at(768)), label('l2', 'a', at(9216), { class: 'gap' })),
    );
    expect(classes).toEqual(['gap', 'hum']);
    expect(items).toMatchObject([
      { ...origin, endSequence: 512, evidence: true, probabilities: [0.98, 0.02], marks: [] },
      { ...origin, endSequence: 768, evidence: true, marks: [{ annotator: 'a', tier: 'first', label: 1 }] },
      { ...origin, endSequence: 9216, evidence: false, marks: [{ annotator: 'a', label: 0 }] },
    ]);
  });

  it('have the last word of each annotator, also where a label is about a span or a signal', () => {
    const said = [
      label('l1', 'a', { kind: 'signal', signal: 's1' }),
      label('l2', 'b', { kind: 'span', epoch: 0, fromSequence: 600, toSequence: 800 }, second({ verdict: 'unsure', class: undefined })),
      label('l3', 'a', at(768), { class: 'gap' }),
    ];
    const { items } = labelItems(kept('drift', signal), kept('labelled', ...said));
    expect(items.map(({ marks }) => marks.map((one) => [one.annotator, one.label]))).toEqual([
      [['a', 1]],
      [
        ['b', undefined],
        ['a', 0],
      ],
    ]);
  });
});

describe('tremolo fleet label server.yaml', () => {
  let folder: string;
  let yaml: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tremolo-labels-'));
    yaml = join(folder, 'server.yaml');
    expect((await tremolo('keys', 'init', '--out', join(folder, 'fleet'), '--site', 'plant')).code).toBe(0);
    await writeFile(yaml, stringify({ repository: 'fleet', broker: { url: 'mqtt://127.0.0.1:1' } }));
    const books = await openBooks({ database: join(folder, 'state/server.db'), lease: 1000 }, undefined, () => {});
    const labels = [512, 9216, 9472, 9728].flatMap((end, index) => [
      label(`a${index}`, 'ann-a', at(end), { class: index % 2 ? 'gap' : 'hum' }),
      label(`b${index}`, 'ann-b', at(end), second({ class: index === 1 || index === 2 ? 'gap' : 'hum' })),
    ]);
    for (const arrival of [...kept('drift', signal), ...kept('labelled', ...labels)]) expect(await books.store.keep(arrival)).toBe(true);
    await books.close();
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('--queue names the windows that are open, with the command that labels each', async () => {
    const { code, stdout, stderr, report } = await tremolo('fleet', 'label', yaml, '--queue', '--json');
    expect(code, stderr).toBe(0);
    expect(report.queue).toEqual([
      { site: 'plant', ...origin, epoch: 0, endSequence: 768, tier: 'first', information: expect.closeTo(0.673, 3) },
    ]);
    expect(stdout).toContain('tremolo fleet label plant/hall press CLASS --window 0:768 --tier first');
  });

  it('--agreement tells how far annotators agree beyond chance', async () => {
    const { code, stdout, stderr, report } = await tremolo('fleet', 'label', yaml, '--agreement', '--json');
    expect(code, stderr).toBe(0);
    // Two of four agree, as chance has it: Cohen and Fleiss say 0; Krippendorff corrects for so few.
    expect(report.sites).toEqual([
      expect.objectContaining({
        ...{ site: 'plant', labelled: 4, shared: 4, settled: 2, waitForExpert: 2 },
        cohen: [{ pair: ['ann-a', 'ann-b'], windows: 4, kappa: 0 }],
        fleiss: { annotators: 2, windows: 4, kappa: 0 },
        krippendorff: { value: expect.closeTo(0.125, 6), low: expect.any(Number), high: 1 },
      }),
    ]);
    expect(stdout).toContain("Krippendorff's alpha 0.125");
  });

  it.each([[['fleet', 'label', '--queue']], [['fleet', 'label', 'server.yaml', '--queue', '--agreement']]])(
    '%j is refused in one line',
    async (args) => {
      const { code, stderr } = await tremolo(...args);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^usage\/arguments: [^\n]*\n$/);
    },
  );
});
